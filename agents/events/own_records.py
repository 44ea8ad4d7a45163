"""Rows of a chunk → records under the user's own schema. Pure and deterministic.

The identity is in headers, and what does not fit is a misfit. A record counts in the window of its Kafka timestamp, which is
when its chunk was read, with the bytes of its value: what the loader sees of it, too (ADR 0055). A seventh header, `timestamp`,
says that it counts, and where: a topic may have the broker's times.
"""

from typing import Any

from headrace.agents.events.encoded import Encoded, Misfit, Row, Rows, Tally, Told
from headrace.agents.events.records import Moments
from headrace.agents.events.schemas.own import OwnSchema
from headrace.agents.events.schemas.scalars import Micros, MisfitError
from headrace.audit import window_start_ms


class OwnRecords:
    """Writes the records of one chunk.

    Args:
        header: the five bytes before each payload (schemas/framing.py).
        into: takes the records, and what does not fit.
    """

    __slots__ = ("_header", "_into", "_moments", "_own", "_read_time_us", "_timestamp", "_window_ms")

    def __init__(self, header: bytes, read_time_us: int, own: OwnSchema, into: Encoded) -> None:
        self._header, self._read_time_us, self._own, self._into = header, read_time_us, own, into
        self._moments = Moments(read_time_us)
        self._timestamp = str(read_time_us // 1000)
        self._window_ms = window_start_ms(read_time_us // 1000)

    def write(self, rows: Rows) -> None:
        """Write what fits, in order, and note what does not."""
        moments, own_times = self._moments.of(rows.times_us)
        each = zip(
            rows.lines, rows.messages, rows.encodings, rows.times_us, rows.fields, rows.positions, rows.sinces, rows.parts,
            rows.are_parts, rows.source_bytes, rows.whences, strict=True,
        )  # fmt: skip
        for row, time_us, from_line in zip(each, moments, own_times, strict=True):
            self._write(row, time_us, from_line=from_line)

    def _write(self, row: Row, time_us: int, *, from_line: bool) -> None:
        line, message, encoding, said_us, fields, position, since, part, is_part, source_bytes, whence = row
        agent_id, stream_id = whence.agent_id, whence.stream_id
        end = position + max(1, source_bytes)
        try:
            if is_part:
                raise MisfitError("longer than max_line_bytes, and its schema has no place for parts")
            envelope: dict[str, Any] = {}
            if self._own.asks_envelope:
                envelope = {
                    "event_time": Micros(time_us), "event_time_source": "line" if from_line else "read",
                    "read_time": Micros(self._read_time_us), "agent_id": agent_id, "stream_id": stream_id,
                    "position": position, "since": since, "part": part, "host": whence.host, "service": whence.service,
                    "source": whence.source, "message": message.decode(), "encoding": encoding,
                }  # fmt: skip
            payload = self._own.payload(fields, envelope)
        except MisfitError as error:
            told = Told(said_us, encoding, whence.host, whence.service, whence.source, fields, is_part)
            self._into.misfits.append(Misfit((stream_id, position, since, part, end), line, self._window_ms, str(error), told))
            return
        value = self._header + payload
        self._into.values.append(value)
        self._into.windows.setdefault(self._window_ms, Tally()).add(agent_id, stream_id, position, part, value)
        self._into.headers.append(
            [
                ("agent_id", agent_id), ("stream_id", stream_id), ("position", str(position)),
                ("since", str(since)), ("part", str(part)), ("end", str(end)), ("timestamp", self._timestamp),
            ]
        )  # fmt: skip

"""A chunk of a file or a spool → its events as they go on the wire, and what the audit counts of them. Pure and deterministic.

The hot path of the agent: everything that is the same for all records of a chunk is encoded once, and the rest is put
together with bytes, without an object or a dict per record where the parser finds no fields. What it writes is what any Avro
library writes for `schemas/envelope.py` (the tests compare).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any

import xxhash

from headrace.agents.effects import Shipped
from headrace.agents.events.containers import ContainerRule, stderr_stream_id
from headrace.agents.events.lines import ISO_8859_1, UTF_8, cut, encoding_of
from headrace.agents.events.pipeline import compiled
from headrace.agents.events.schemas.binary import length, string
from headrace.agents.events.schemas.scalars import Micros, MisfitError
from headrace.agents.events.timestamps import DAY_US, TEN_YEARS_US
from headrace.agents.events.transforms.record import Answer, Record
from headrace.agents.rows import ChunkRow, StreamRow
from headrace.agents.spool.frames import Beside, Origin, Records
from headrace.audit import HASH_MODULUS, WINDOW_MS
from headrace.schemas.envelope import ENVELOPE_JSON
from headrace.varints import unsigned, zigzag

MAX_VALUE_BYTES = 900_000
_WINDOW_US = WINDOW_MS * 1000
_NOTHING: Mapping[str, str] = {}


@dataclass(slots=True)
class Tally:
    """What one window of event time gained: events, bytes of their lines, the sum of their hashes mod 2⁶⁴."""

    count: int = 0
    bytes_total: int = 0
    content_hash: int = 0


Headers = list[tuple[str, str | bytes | None]]
Identity = tuple[str, int, int, int, int]  # stream id, position, since, part, and where the record's bytes end in its source


@dataclass(frozen=True, slots=True)
class Misfit:
    """A line, or a part of one, that its topic's schema has no form for."""

    identity: Identity
    line: bytes
    window_start_ms: int
    reason: str


@dataclass(slots=True)
class Encoded:
    """A chunk's records, in order, and what they count: by window start (ms), and lines (parts are not lines).

    Where the schema has no place for the identity, each value has it in `headers`, nothing counts in `windows`, and `window_of`
    says by position which one a record belongs to. `left_out` counts the lines that the pipeline does not send, by reason.
    `answers` are those of the user's functions: durable before a record is sent, and given to the encoder of a repeat.
    """

    values: list[bytes]
    shipped: Shipped
    windows: dict[int, Tally] = field(default_factory=dict)
    lines: int = 0
    headers: list[Headers] = field(default_factory=list)
    window_of: dict[int, int] = field(default_factory=dict)
    misfits: list[Misfit] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)


def _changed(text: str, encoding: str) -> tuple[bytes, bytes, str]:
    """A message that steps changed: its bytes (as the audit counts them), its UTF-8, and its encoding."""
    message = text.encode()
    if encoding == ISO_8859_1:
        try:
            return text.encode(ISO_8859_1), message, encoding
        except UnicodeEncodeError:
            pass
    return message, message, UTF_8


_ENCODINGS = {encoding: string(encoding) for encoding in (UTF_8, ISO_8859_1)}
_NOTHING_BESIDE = Beside(None, {})
_FROM_LINE, _FROM_READ = string("line"), string("read")


class ChunkEncoder:
    """Encodes the chunks of one agent.

    Args:
        agent_id: uuid of this agent's state.
        header: the five bytes before each payload (schemas/framing.py).
        schema: what is registered under the id in there.
    """

    def __init__(self, agent_id: str, header: bytes, schema: str = ENVELOPE_JSON) -> None:
        self._agent_id = agent_id
        self._header = header
        self.schema = schema

    def encode(self, stream: StreamRow, chunk: ChunkRow, data: bytes, answers: Sequence[Answer] | None = None) -> Encoded:
        """Encode one chunk; the same row, chunk, data, and the answers of functions, give the same bytes for ever."""
        return self._encoding(stream, chunk, answers).run(data)

    def encode_records(
        self, stream: StreamRow, chunk: ChunkRow, records: Records, answers: Sequence[Answer] | None = None
    ) -> Encoded:
        """The same for a chunk of a spool. What the protocol said beside a line goes into the event, and is not parsed."""
        return self._encoding(stream, chunk, answers).run_records(records)

    def _encoding(self, stream: StreamRow, chunk: ChunkRow, answers: Sequence[Answer] | None) -> "_Encoding":
        kind = _Encoding if compiled(chunk.pipeline).own is None else _OwnEncoding
        return kind(self._agent_id, self._header, stream, chunk, answers)


class _Encoding:
    """One chunk's encoding: what its records share, and what is collected."""

    __slots__ = (
        "_agent_id", "_chunk", "_columns", "_earliest_us", "_encoded", "_from", "_hash_start", "_high", "_high_bytes",
        "_identity", "_last", "_last_source", "_last_us", "_latest_us", "_of_stderr", "_origin", "_parse", "_pipeline",
        "_read_time_us", "_record", "_since", "_start", "_steps", "_stream",
    )  # fmt: skip

    def __init__(
        self, agent_id: str, header: bytes, stream: StreamRow, chunk: ChunkRow, answers: Sequence[Answer] | None
    ) -> None:
        read_time_us = chunk.read_time_ms * 1000
        self._agent_id, self._stream, self._chunk = agent_id, stream, chunk
        self._encoded = Encoded([], Shipped(chunk.shipped_to))
        self._start = header
        self._read_time_us = read_time_us
        self._identity = zigzag(read_time_us) + string(agent_id) + string(stream.stream_id)
        self._come_from(stream.host, stream.service, stream.source)
        self._hash_start = xxhash.xxh64(f"{agent_id}/{stream.stream_id}/".encode("ascii"))
        self._earliest_us, self._latest_us = read_time_us - TEN_YEARS_US, read_time_us + DAY_US
        self._pipeline = compiled(chunk.pipeline)
        self._parse, self._columns = self._pipeline.parse, self._pipeline.columns
        self._steps = self._pipeline.steps
        origin = {"host": stream.host, "service": stream.service, "source": stream.source}
        self._record = Record(self._hash_start, chunk.allowance, origin, answers)
        self._since = chunk.shipped_to
        self._of_stderr = (chunk.stderr_to, b"", self._hash_start, stream)
        if self._pipeline.container is not None:
            stderr = replace(stream, stream_id=stderr_stream_id(stream.stream_id))
            identity = zigzag(read_time_us) + string(agent_id) + string(stderr.stream_id)
            hash_start = xxhash.xxh64(f"{agent_id}/{stderr.stream_id}/".encode("ascii"))
            self._of_stderr = (chunk.stderr_to, identity, hash_start, stderr)
        self._last_us, self._last_source, self._last = 0, b"", (b"", Tally())
        self._high, self._high_bytes = 0, b""

    def _come_from(self, host: str, service: str, source: str) -> None:
        self._from = (host, service, source)
        self._origin = string(host) + string(service) + string(source)

    def run(self, data: bytes) -> Encoded:
        if self._chunk.line is not None:
            self._part_of_long_line(data)
        else:
            self._lines(data)
        end, allowed = self._chunk.end, self._chunk.allowance - self._record.allowance
        self._encoded.shipped = Shipped(min(self._since, end), allowed, min(self._of_stderr[0], end))
        self._encoded.answers = self._record.answers
        return self._encoded

    def _lines(self, data: bytes) -> None:
        chunk = self._chunk
        text = data[:-1] if data.endswith(b"\n") else data
        lines = text.split(b"\n")
        if self._pipeline.container is not None:
            self._container_events(self._pipeline.container, lines)
            return
        try:
            texts = text.decode().split("\n")
        except UnicodeDecodeError:
            texts = None
        if self._pipeline.multiline is not None:
            lines, texts = self._pipeline.multiline.grouped(lines, texts)
        limit = chunk.split_bytes // 2 if texts is None else chunk.split_bytes
        position = chunk.start
        take = self._through_steps if self._steps else self._line
        for index, line in enumerate(lines):
            if len(line) > limit:
                self._long(line, position)
            elif texts is not None:
                take(line, line, UTF_8, texts[index], position)
            else:
                encoding = encoding_of(line)
                decoded = line.decode(encoding)
                take(line, line if encoding == UTF_8 else decoded.encode(), encoding, decoded, position)
            position += len(line) + 1

    def _container_events(self, rule: ContainerRule, lines: list[bytes]) -> None:
        """Events whose lines may lie apart, of the two streams of a container."""
        positions = list(accumulate((len(line) + 1 for line in lines), initial=self._chunk.start))
        stream = 0
        for event in rule.events(lines):
            if event.stream != stream:
                stream = event.stream
                self._turn()
            self._long(b"\n".join([lines[index] for index in event.lines]), positions[event.lines[0]])
        if stream:
            self._turn()

    def _turn(self) -> None:
        """Go on with a container's other stream."""
        other, self._of_stderr = self._of_stderr, (self._since, self._identity, self._hash_start, self._stream)
        self._since, self._identity, self._hash_start, self._stream = other

    def _line(self, line: bytes, message: bytes, encoding: str, text: str, position: int) -> None:
        event_time_us, fields = self._parse(text, self._read_time_us)
        self._add(line, message, encoding, event_time_us, fields, position, 0)
        self._since = position + len(line) + 1
        self._encoded.lines += 1

    def _through_steps(self, line: bytes, message: bytes, encoding: str, text: str, position: int) -> None:
        """A line of a pipeline with transforms; one that is left out lies before the next record's `since`."""
        record = self._record
        event_time_us, record.fields = self._parse(text, self._read_time_us)
        record.text, record.position, record.room_bytes = text, position, len(line)
        if self._passes(record):
            end = position + len(line) + 1
            if record.text is not text:
                line, message, encoding = _changed(record.text, encoding)
            self._add(line, message, encoding, event_time_us, record.fields, position, 0)
            self._since = end
            self._encoded.lines += 1

    def _passes(self, record: Record) -> bool:
        """Take a line through the transforms; False, and counted, where one leaves it out."""
        for step in self._steps:
            reason = step(record)
            if reason is not None:
                left_out = self._encoded.left_out
                left_out[reason] = left_out.get(reason, 0) + 1
                return False
        return True

    def _long(self, line: bytes, position: int) -> None:
        """A line that may have to be sent in parts; then it is sent, whatever the steps say, and without fields."""
        encoding = encoding_of(line)
        parts = cut(line, encoding, self._chunk.split_bytes)
        if len(parts) == 1:
            decoded = line.decode(encoding)
            take = self._through_steps if self._steps else self._line
            take(line, decoded.encode(), encoding, decoded, position)
            return
        event_time_us = self._pipeline.time_of_start(line[:4096], encoding, self._read_time_us)
        for number, part in enumerate(parts):
            self._part(part, encoding, event_time_us, position, number, {})
            position += len(part)
            self._since = position
        self._since += 1
        self._encoded.lines += 1

    def run_records(self, records: Records) -> Encoded:
        host = self._stream.host
        origin: Origin | None = None
        rows = zip(records.lines, records.origins, records.beside, strict=True)
        position = self._chunk.start
        for line, from_, beside in rows:
            if from_ is not origin:
                origin = from_
                self._come_from(origin.host or host, origin.service, origin.source)
                self._record.origin = {"host": origin.host or host, "service": origin.service, "source": origin.source}
            self._spooled(line, beside or _NOTHING_BESIDE, position)
            position += len(line) + 1
        self._encoded.shipped = Shipped(self._since, self._chunk.allowance - self._record.allowance)
        self._encoded.answers = self._record.answers
        return self._encoded

    def _spooled(self, line: bytes, beside: Beside, position: int) -> None:
        """One record of a spool; a long one's parts share what was said beside it."""
        encoding, end = encoding_of(line), position + len(line) + 1
        text = line.decode(encoding)
        message = line if encoding == UTF_8 else text.encode()
        if len(message) > self._chunk.split_bytes:
            self._spooled_parts(line, encoding, beside, position)
            return
        event_time_us, fields = self._parse(text, self._read_time_us)
        if beside.event_time_us is not None:
            event_time_us = beside.event_time_us
        if beside.fields:
            fields = {**fields, **beside.fields}  # what a message holds does not pass for what the protocol says
        if self._steps:
            record = self._record
            record.text, record.position, record.fields, record.room_bytes = text, position, fields, len(line)
            if not self._passes(record):
                return
            fields = record.fields
            if record.text is not text:
                line, message, encoding = _changed(record.text, encoding)
        self._add(line, message, encoding, event_time_us, fields, position, 0)
        self._since = end
        self._encoded.lines += 1

    def _spooled_parts(self, line: bytes, encoding: str, beside: Beside, position: int) -> None:
        event_time_us = beside.event_time_us
        if event_time_us is None:
            event_time_us = self._pipeline.time_of_start(line[:4096], encoding, self._read_time_us)
        for number, part in enumerate(cut(line, encoding, self._chunk.split_bytes)):
            self._part(part, encoding, event_time_us, position, number, beside.fields)
            position += len(part)
            self._since = position
        self._since += 1
        self._encoded.lines += 1

    def _part_of_long_line(self, data: bytes) -> None:
        chunk, head = self._chunk, self._chunk.line
        assert head is not None
        part = data.removesuffix(b"\n")
        encoding = head.encoding
        if encoding == UTF_8 and encoding_of(part) != UTF_8:  # written over while it was read: its bytes still count
            encoding = ISO_8859_1
        if head.stderr:
            self._turn()
        self._part(part, encoding, head.event_time_us, chunk.start, head.part, {})
        self._since = chunk.end
        if head.stderr:
            self._turn()
        if not head.part:
            self._encoded.lines += 1

    def _part(
        self, part: bytes, encoding: str, event_time_us: int | None, position: int, number: int, fields: Mapping[str, str]
    ) -> None:
        """One part of a long line: of the steps, only those that hide something see it."""
        text = part.decode(encoding)
        line, message = part, text.encode()
        if self._pipeline.redactions:
            record = self._record
            record.text, record.fields = text, dict(fields)
            for step in self._pipeline.redactions:
                step(record)
            fields = record.fields
            if record.text is not text:
                line, message, encoding = _changed(record.text, encoding)
        self._add(line, message, encoding, event_time_us, fields, position, number, is_part=True)

    def _add(
        self, line: bytes, message: bytes, encoding: str, event_time_us: int | None, fields: Mapping[str, str],
        position: int, part: int, *, is_part: bool = False,  # noqa: ARG002 - the envelope has a place for parts
    ) -> None:  # fmt: skip
        """Put one record together, in the order of the envelope's fields, and count it."""
        if event_time_us is None or not self._earliest_us <= event_time_us <= self._latest_us:
            time, tally = self._time_of(self._read_time_us, _FROM_READ)
        else:
            time, tally = self._time_of(event_time_us, _FROM_LINE)
        at = zigzag(position)
        columns = self._columns(fields)
        value = b"".join((
            self._start, time, self._identity, at, at if self._since == position else zigzag(self._since),
            length(part), self._origin, length(len(message)), message, _ENCODINGS[encoding], columns,
        ))  # fmt: skip
        if len(value) > MAX_VALUE_BYTES and fields:
            value = value[: -len(columns)] + self._columns(_NOTHING)
        self._encoded.values.append(value)
        digest = self._hash_start.copy()
        digest.update(b"%d/%d\n" % (position, part))
        digest.update(line)
        tally.count += 1
        tally.bytes_total += len(line)
        tally.content_hash = (tally.content_hash + digest.intdigest()) % HASH_MODULUS

    def _time_of(self, event_time_us: int, source: bytes) -> tuple[bytes, Tally]:
        """The two leading fields for an event time, and the window it counts in; lines mostly share one, or nearly."""
        if event_time_us == self._last_us and source is self._last_source:
            return self._last
        start_ms = event_time_us // _WINDOW_US * WINDOW_MS
        tally = self._encoded.windows.get(start_ms)
        if tally is None:
            tally = self._encoded.windows[start_ms] = Tally()
        self._last_us, self._last_source = event_time_us, source
        self._last = (self._time_bytes(event_time_us) + source, tally)
        return self._last

    def _time_bytes(self, event_time_us: int) -> bytes:
        """As `zigzag` writes it: all but the lowest 28 bits, four bytes of seven, change every two minutes only."""
        doubled = event_time_us << 1
        high = doubled >> 28
        if high <= 0:
            return zigzag(event_time_us)
        if high != self._high:
            self._high, self._high_bytes = high, unsigned(high)
        low = doubled & 0x7F | (doubled & 0x3F80) << 1 | (doubled & 0x1FC000) << 2 | (doubled & 0xFE00000) << 3 | 0x80808080
        return low.to_bytes(4, "little") + self._high_bytes


class _OwnEncoding(_Encoding):
    """The same under the user's own schema: the identity is in headers, and what does not fit is a misfit.

    Nothing counts in windows but what is rejected: a count and a hash of `sent` are of the envelope's messages (audit.md).
    """

    __slots__ = ()

    def _add(
        self, line: bytes, message: bytes, encoding: str, event_time_us: int | None, fields: Mapping[str, str],
        position: int, part: int, *, is_part: bool = False,
    ) -> None:  # fmt: skip
        since = self._since
        from_line = event_time_us is not None and self._earliest_us <= event_time_us <= self._latest_us
        time_us = event_time_us if event_time_us is not None and from_line else self._read_time_us
        window_ms = time_us // _WINDOW_US * WINDOW_MS
        own, stream_id = self._pipeline.own, self._stream.stream_id
        end = position + max(1, self._record.room_bytes if self._steps and not is_part else len(line))
        assert own is not None
        try:
            if is_part:
                raise MisfitError("longer than max_line_bytes, and its schema has no place for parts")
            envelope: dict[str, Any] = {}
            if own.asks_envelope:
                host, service, source = self._from
                envelope = {
                    "event_time": Micros(time_us), "event_time_source": "line" if from_line else "read",
                    "read_time": Micros(self._read_time_us), "agent_id": self._agent_id, "stream_id": stream_id,
                    "position": position, "since": since, "part": part, "host": host, "service": service, "source": source,
                    "message": message.decode(), "encoding": encoding,
                }  # fmt: skip
            payload = own.payload(fields, envelope)
        except MisfitError as error:
            self._encoded.misfits.append(Misfit((stream_id, position, since, part, end), line, window_ms, str(error)))
            return
        self._encoded.values.append(self._start + payload)
        self._encoded.headers.append(
            [
                ("agent_id", self._agent_id), ("stream_id", stream_id), ("position", str(position)),
                ("since", str(since)), ("part", str(part)), ("end", str(end)),
            ]
        )  # fmt: skip
        self._encoded.window_of[position] = window_ms

"""A chunk of a file or a spool → its events as they go on the wire, and what the audit counts of them. Pure and deterministic.

Here is decided which records a chunk has: rows, which `records.py` (one of our schemas) or `own_records.py` (the user's own)
writes, many at a time. A chunk of whole lines that all are records as they are, the usual one, is never taken line by line.
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate

import xxhash

from headrace.agents.effects import Shipped
from headrace.agents.events.containers import ContainerRule, stderr_stream_id
from headrace.agents.events.encoded import Encoded, Row, Rows, Whence
from headrace.agents.events.lines import ISO_8859_1, UTF_8, changed, cut, decoded, encoding_of
from headrace.agents.events.own_records import OwnRecords
from headrace.agents.events.parsers.parser import PARSE_ERROR
from headrace.agents.events.pipeline import compiled
from headrace.agents.events.records import EnvelopeRecords
from headrace.agents.events.transforms.record import Answer, Record
from headrace.agents.rows import ChunkRow, StreamRow
from headrace.agents.spool.frames import Beside, Origin, Records
from headrace.schemas.envelope import ENVELOPE_JSON

_BATCH_ROWS = 256  # written at once: what they are made of fits in a core's cache, and takes little memory


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
        return _Encoding(self._agent_id, self._header, stream, chunk, answers).run(data)

    def encode_records(
        self, stream: StreamRow, chunk: ChunkRow, records: Records, answers: Sequence[Answer] | None = None
    ) -> Encoded:
        """The same for a chunk of a spool. What the protocol said beside a line goes into the event, and is not parsed."""
        return _Encoding(self._agent_id, self._header, stream, chunk, answers).run_records(records)


class _Encoding:
    """One chunk's encoding: how far it is, and the rows that are not written yet."""

    __slots__ = (
        "_agent_id", "_chunk", "_encoded", "_of_stderr", "_parse", "_pipeline", "_read_time_us", "_record", "_records", "_rows",
        "_since", "_steps", "_stream", "_whence",
    )  # fmt: skip

    def __init__(
        self, agent_id: str, header: bytes, stream: StreamRow, chunk: ChunkRow, answers: Sequence[Answer] | None
    ) -> None:
        self._agent_id, self._stream, self._chunk = agent_id, stream, chunk
        self._read_time_us = read_time_us = chunk.read_time_ms * 1000
        self._encoded = Encoded([], Shipped(chunk.shipped_to))
        self._pipeline = compiled(chunk.pipeline)
        self._parse, self._steps, own = self._pipeline.parse, self._pipeline.steps, self._pipeline.own
        self._records = (
            EnvelopeRecords(header, read_time_us, self._pipeline.columns, self._encoded)
            if own is None
            else OwnRecords(header, read_time_us, own, self._encoded)
        )
        self._rows: list[Row] = []
        self._whence = self._of(stream.stream_id, stream.host, stream.service, stream.source)
        origin = {"host": stream.host, "service": stream.service, "source": stream.source}
        self._record = Record(xxhash.xxh64(self._whence.hash_start), chunk.allowance, origin, answers)
        self._since = chunk.shipped_to
        stderr = self._whence
        if self._pipeline.container is not None:
            stderr = self._of(stderr_stream_id(stream.stream_id), stream.host, stream.service, stream.source)
        self._of_stderr = (chunk.stderr_to, stderr)

    def _of(self, stream_id: str, host: str, service: str, source: str) -> Whence:
        return Whence.of(self._agent_id, stream_id, self._read_time_us, host, service, source)

    def run(self, data: bytes) -> Encoded:
        if self._chunk.line is not None:
            self._part_of_long_line(data)
        else:
            self._lines(data)
        self._write()
        end, allowed = self._chunk.end, self._chunk.allowance - self._record.allowance
        self._encoded.shipped = Shipped(min(self._since, end), allowed, min(self._of_stderr[0], end))
        self._encoded.answers = self._record.answers
        return self._encoded

    def _lines(self, data: bytes) -> None:
        lines = data.split(b"\n")
        if not lines[-1] and len(lines) > 1:
            del lines[-1]
        if self._pipeline.container is not None:
            self._container_events(self._pipeline.container, lines)
            return
        if self._pipeline.multiline is not None:
            lines = self._pipeline.multiline.grouped(lines)
        position = self._chunk.start
        for first in range(0, len(lines), _BATCH_ROWS):
            position = self._some(lines[first : first + _BATCH_ROWS], position)

    def _some(self, lines: Sequence[bytes], start: int) -> int:
        """Some events of one line, or of lines side by side; returns where the next begins."""
        sizes = list(map(len, lines))
        *positions, end = accumulate([size + 1 for size in sizes], initial=start)
        texts = self._texts(lines, sizes)
        if texts is not None:
            parse, read_time_us = self._parse, self._read_time_us
            told = [parse(text, read_time_us) for text in texts]
            self._whole(lines, told, sizes, positions, [self._whence] * len(lines))
            return end
        for line, position in zip(lines, positions, strict=True):
            self._event(line, position)
        return end

    def _texts(self, lines: Sequence[bytes], sizes: Sequence[int]) -> list[str] | None:
        """Of lines that all are records as they are, in UTF-8; None where one is not."""
        if self._steps or max(sizes) > self._chunk.split_bytes:
            return None
        try:
            return list(map(bytes.decode, lines))
        except UnicodeDecodeError:
            return None

    def _whole(
        self, lines: Sequence[bytes], told: Sequence[tuple[int | None, Mapping[str, str]]], sizes: Sequence[int],
        positions: Sequence[int], whences: Sequence[Whence],
    ) -> None:  # fmt: skip
        """Lines of UTF-8 that are records as they are, each, with the time and the fields that it is told to have."""
        self._write()
        count = len(lines)
        times_us, fields = zip(*told, strict=True)
        self._records.write(
            Rows(
                lines, lines, [UTF_8] * count, times_us, fields, positions, [self._since, *positions[1:]], [0] * count,
                [False] * count, sizes, whences,
            )
        )  # fmt: skip
        self._since = positions[-1] + sizes[-1] + 1
        self._encoded.lines += count
        self._encoded.unparsed += sum([PARSE_ERROR in each for each in fields if each])

    def _container_events(self, rule: ContainerRule, lines: list[bytes]) -> None:
        """Events whose lines may lie apart, of the two streams of a container."""
        positions = list(accumulate((len(line) + 1 for line in lines), initial=self._chunk.start))
        stream = 0
        for event in rule.events(lines):
            if event.stream != stream:
                stream = event.stream
                self._turn()
            self._event(b"\n".join([lines[index] for index in event.lines]), positions[event.lines[0]])
        if stream:
            self._turn()

    def _turn(self) -> None:
        """Go on with a container's other stream."""
        other, self._of_stderr = self._of_stderr, (self._since, self._whence)
        self._since, self._whence = other

    def _passes(self, record: Record) -> bool:
        """Take a line through the transforms; False, and counted, where one leaves it out."""
        for step in self._steps:
            reason = step(record)
            if reason is not None:
                left_out = self._encoded.left_out
                left_out[reason] = left_out.get(reason, 0) + 1
                return False
        return True

    def _event(self, line: bytes, position: int, beside: Beside | None = None) -> None:
        """An event, or one record of a spool; one that the steps leave out lies before the next record's `since`."""
        encoding, text, message = decoded(line)
        if len(message) > self._chunk.split_bytes:
            self._in_parts(line, encoding, position, beside)
            return
        end, read_time_us, charset = position + len(line) + 1, self._read_time_us, self._pipeline.charset
        said = text if charset is None or encoding == UTF_8 else line.decode(charset, "replace")
        event_time_us, fields = self._parse(said, read_time_us) if beside is None else self._told(said, beside)
        if said is not text:
            fields = {"text": said, **fields}
        if PARSE_ERROR in fields:
            self._encoded.unparsed += 1
        if self._steps:
            record = self._record
            record.text, record.fields, record.position, record.room_bytes = text, fields, position, len(line)
            if not self._passes(record):
                return
            fields = record.fields
            if record.text is not text:
                line, message, encoding = changed(record.text, encoding)
        self._add(line, message, encoding, event_time_us, fields, position, 0)
        self._since = end
        self._encoded.lines += 1

    def _in_parts(self, line: bytes, encoding: str, position: int, beside: Beside | None) -> None:
        """A long one: it is sent, whatever the steps say, and without fields, but for what was said beside it."""
        event_time_us, fields = (None, {}) if beside is None else (beside.event_time_us, beside.fields)
        if event_time_us is None:
            event_time_us = self._pipeline.time_of_start(line, encoding, self._read_time_us)
        for number, part in enumerate(cut(line, encoding, self._chunk.split_bytes)):
            self._part(part, encoding, event_time_us, position, number, fields)
            position += len(part)
            self._since = position
        self._since += 1
        self._encoded.lines += 1

    def run_records(self, records: Records) -> Encoded:
        whences = self._whences(records.origins)
        position = self._chunk.start
        for first in range(0, len(records.lines), _BATCH_ROWS):
            stop = first + _BATCH_ROWS
            position = self._some_records(records, first, stop, whences[first:stop], position)
        self._write()
        self._encoded.shipped = Shipped(self._since, self._chunk.allowance - self._record.allowance)
        self._encoded.answers = self._record.answers
        return self._encoded

    def _some_records(self, records: Records, first: int, stop: int, whences: Sequence[Whence], start: int) -> int:
        """Some records of a spool; returns where the next begins."""
        lines, beside = records.lines[first:stop], records.beside[first:stop]
        sizes = list(map(len, lines))
        *positions, end = accumulate([size + 1 for size in sizes], initial=start)
        texts = self._texts(lines, sizes)
        if texts is not None:
            parse, read_time_us = self._parse, self._read_time_us
            told = [
                parse(text, read_time_us) if said is None else self._told(text, said)
                for text, said in zip(texts, beside, strict=True)
            ]
            self._whole(lines, told, sizes, positions, whences)
            return end
        origins = records.origins[first:stop]
        for line, origin, self._whence, said, position in zip(lines, origins, whences, beside, positions, strict=True):
            host = origin.host or self._stream.host
            self._record.origin = {"host": host, "service": origin.service, "source": origin.source}
            self._event(line, position, said)
        return end

    def _whences(self, origins: Sequence[Origin]) -> list[Whence]:
        """Of each record; those of one origin share it."""
        stream_id, host = self._stream.stream_id, self._stream.host
        known = {each: self._of(stream_id, each.host or host, each.service, each.source) for each in set(origins)}
        return [known[each] for each in origins]

    def _told(self, text: str, beside: Beside) -> tuple[int | None, dict[str, str]]:
        """A line's time and fields; what it holds does not pass for what the protocol says."""
        event_time_us, fields = self._parse(text, self._read_time_us)
        if beside.event_time_us is not None:
            event_time_us = beside.event_time_us
        return event_time_us, {**fields, **beside.fields} if beside.fields else fields

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
                line, message, encoding = changed(record.text, encoding)
        self._add(line, message, encoding, event_time_us, fields, position, number, is_part=True)

    def _add(
        self, line: bytes, message: bytes, encoding: str, event_time_us: int | None, fields: Mapping[str, str],
        position: int, part: int, *, is_part: bool = False,
    ) -> None:  # fmt: skip
        """One more row."""
        source_bytes = self._record.room_bytes if self._steps and not is_part else len(line)
        self._rows.append(
            (line, message, encoding, event_time_us, fields, position, self._since, part, is_part, source_bytes, self._whence)
        )
        if len(self._rows) >= _BATCH_ROWS:
            self._write()

    def _write(self) -> None:
        """Write the rows that wait."""
        if self._rows:
            self._records.write(Rows(*zip(*self._rows, strict=True)))
            self._rows.clear()

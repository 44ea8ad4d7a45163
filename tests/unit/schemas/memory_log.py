"""The log `_schemas` in memory, shared by any number of registries, compacted at will; obeys the contract of `SchemaLog`."""

from headrace.errors import PeerError
from headrace.schemas.schema_log import LogReader, LogRecord


class MemoryLog:
    """Hands every record to its readers when it is appended, unless it is told to hold back (`flush` then hands them over)."""

    def __init__(self, records: list[LogRecord] | None = None, *, held: bool = False) -> None:
        self.records = records if records is not None else []
        self.failing = False
        self.held = held
        self._readers: list[tuple[LogReader, int]] = []

    def follow(self, reader: LogReader) -> None:
        self._readers.append((reader, 0))
        self.flush()

    async def append(self, key: bytes, value: bytes | None) -> int:
        if self.failing:
            raise PeerError("_schemas: no broker; is it running?")
        offset = self.records[-1].offset + 1 if self.records else 0
        self.records.append(LogRecord(offset, key, value))
        if not self.held:
            self.flush()
        return offset

    async def end_offset(self) -> int:
        if self.failing:
            raise PeerError("_schemas: no broker; is it running?")
        end = self.records[-1].offset + 1 if self.records else 0
        self.flush()
        return end

    async def cluster_id(self) -> str:
        if self.failing:
            raise PeerError("_schemas: no broker; is it running?")
        return "memory"

    def flush(self) -> None:
        end = self.records[-1].offset + 1 if self.records else 0
        for number, (reader, position) in enumerate(self._readers):
            reader.on_records([record for record in self.records if record.offset >= position])
            reader.on_end(end)
            self._readers[number] = (reader, end)

"""What every `SchemaLog` must do; the one in memory and the one on a broker run the same tests."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager

from headrace.schemas.schema_log import LogReader, LogRecord, SchemaLog

WAIT_S = 20


class Collector:
    """Remembers what a log gave it."""

    def __init__(self) -> None:
        self.records: list[LogRecord] = []
        self.ends: list[int] = []
        self._news = asyncio.Event()

    def on_records(self, records: Sequence[LogRecord]) -> None:
        self.records += records
        self._news.set()

    def on_end(self, offset: int) -> None:
        self.ends.append(offset)
        self._news.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not condition():
                self._news.clear()
                await self._news.wait()


class SchemaLogContract:
    """Subclasses say how a reader follows the same log, again and again."""

    def follow(self, reader: LogReader) -> AbstractAsyncContextManager[SchemaLog]:
        """A log that gives its records to `reader` while the context lasts."""
        raise NotImplementedError

    def run(self, scenario: Callable[[], Awaitable[None]]) -> None:
        async def main() -> None:
            await scenario()

        asyncio.run(main())

    def test_an_empty_log_has_its_end_at_its_beginning(self) -> None:
        async def scenario() -> None:
            reader = Collector()
            async with self.follow(reader) as log:
                await reader.until(lambda: bool(reader.ends))
                assert await log.end_offset() == reader.ends[0]
                assert await log.cluster_id() == await log.cluster_id() != ""
                assert reader.records == []

        self.run(scenario)

    def test_records_come_back_in_order_with_the_offsets_that_append_said(self) -> None:
        async def scenario() -> None:
            reader = Collector()
            async with self.follow(reader) as log:
                first = await log.append(b"key 1", b"value 1")
                second = await log.append(b"key 2", None)
                await reader.until(lambda: len(reader.records) == 2 and max(reader.ends, default=0) > second)
                assert reader.records == [LogRecord(first, b"key 1", b"value 1"), LogRecord(second, b"key 2", None)]
                assert first < second < await log.end_offset() <= reader.ends[-1]

        self.run(scenario)

    def test_whoever_follows_later_reads_all_from_the_beginning_and_what_others_append(self) -> None:
        async def scenario() -> None:
            early, late = Collector(), Collector()
            async with self.follow(early) as log:
                for number in range(700):
                    await log.append(b"key %d" % number, b"value")
                async with self.follow(late) as other:
                    await late.until(lambda: bool(late.ends) and late.ends[-1] > late.records[-1].offset)
                    assert len(late.records) >= 700
                    await other.append(b"last", b"value")
                    await log.append(b"very last", b"value")
                    await late.until(lambda: late.records[-1].key == b"very last")
                    await early.until(lambda: early.records[-1].key == b"very last")
                assert early.records == late.records

        self.run(scenario)

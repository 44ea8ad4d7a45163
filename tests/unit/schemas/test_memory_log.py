"""The log in memory, on which other tests rest, keeps the contract."""

import contextlib
from collections.abc import AsyncIterator

import pytest

from headrace.schemas.schema_log import LogReader, SchemaLog
from tests.unit.schemas.memory_log import MemoryLog
from tests.unit.schemas.schema_log_contract import SchemaLogContract


class TestMemoryLog(SchemaLogContract):
    @pytest.fixture(autouse=True)
    def _log(self) -> None:
        self.log = MemoryLog()

    @contextlib.asynccontextmanager
    async def follow(self, reader: LogReader) -> AsyncIterator[SchemaLog]:
        self.log.follow(reader)
        yield self.log

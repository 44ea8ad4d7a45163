"""A job of a user's own that always fails."""

from typing import ClassVar

import pyarrow as pa

from headrace.jobs.batch.event_rows import Rows
from headrace.jobs.batch.job import Job, column


class Failing(Job):
    """Fails at its first rows."""

    name: ClassVar = "failing"
    does: ClassVar = "fails"
    group: ClassVar = ("n",)
    schema: ClassVar = pa.schema([column("n", pa.int64(), "nothing")])

    def columns(self) -> tuple[str, ...]:
        return ()

    def partial(self, rows: Rows, given: pa.Table | None) -> pa.Table:
        raise ValueError("it always fails")

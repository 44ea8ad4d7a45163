"""One statement over landed tables, in a session of its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.jobs.sql.options import DEFAULTS, Options
from headrace.jobs.sql.session import Session

if TYPE_CHECKING:
    import pyarrow as pa


@contextmanager
def ask(where: Path | str, sql: str, options: Options = DEFAULTS) -> Iterator["pa.RecordBatchReader"]:
    """Run one statement over a snapshot of the tables that it names: see `Session.ask`."""
    with Session.open(where, options) as session, session.ask(sql) as reader:
        yield reader

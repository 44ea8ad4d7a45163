"""What a batch job is: a class whose fields are its options and whose methods turn rows into the rows of a table. Pure.

    rows of a file ──partial──▶ parts ──merge──▶ fewer parts ──finish──▶ rows of the job's table
                                 of many files, in any order and grouping

Parts are Arrow tables of one schema of the job's own. `merge` may be called on any parts, merged already or not, any number of
times: it must give the same whatever the split, so it is associative, commutative, and idempotent. `finish` sees all parts of
the groups that it is given. A job of a user's own is such a class in a module that workers can import: `module:Class`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Protocol

import pyarrow as pa

from headrace.config import Section
from headrace.jobs.batch.event_rows import Rows, Span
from headrace.sinks.table.reader import TableSnapshot


class Scene(Protocol):
    """What a job may ask before its rows are read, in the process that runs it."""

    root: str
    span: Span

    @property
    def tables(self) -> Sequence[TableSnapshot]:
        """The tables that are read."""
        ...

    def rows(self, job: "Job") -> pa.Table:
        """The rows of another job over the same files, all in memory."""
        ...

    def spread(self, work: Sequence[Any], each: Callable[[Any], Any], label: str) -> list[Any]:
        """What a module's function makes of each piece of work, spread over workers: values that JSON can say, in no order."""
        ...

    def earlier(self, days: int, columns: pa.Schema) -> tuple[pa.Table, int]:
        """What the table that is written has of so many days before, distinct rows, and of how many of them it has a slice."""
        ...


class Job(Section):
    """One batch job with its options, which are the fields of the class, each with a default and a description."""

    name: ClassVar[str]
    version: ClassVar[int] = 1
    """To be raised when the same input gives other rows."""
    does: ClassVar[str]
    schema: ClassVar[pa.Schema]
    """Of its rows; its metadata `about` of a field is what the column means."""
    group: ClassVar[tuple[str, ...]]
    """Columns of the parts: parts that agree in them are finished together."""
    order: ClassVar[tuple[str, ...]]
    """Columns of its rows, by which they are sorted."""

    reads: ClassVar[bool] = True
    """Whether tables' rows are read; else all its parts come from elsewhere."""

    def columns(self) -> tuple[str, ...]:
        """The columns that are read, if a table has them; those of times and of the log's order come always."""
        raise NotImplementedError

    def needs(self) -> tuple[str, ...]:
        """Those of them, or keys within, that options name: a column some table must have, a key some row should."""
        return ()

    def reach_us(self) -> int:
        """How long before a day begins rows are read, too, microseconds."""
        return 0

    def prepare(self, scene: Scene) -> pa.Table | None:  # noqa: ARG002 - for those that need it
        """What `partial` and `finish` are given beside the rows: a small table."""
        return None

    def parts(self, scene: Scene) -> pa.Table | None:  # noqa: ARG002
        """Parts that come from elsewhere than rows."""
        return None

    def partial(self, rows: Rows, given: pa.Table | None) -> pa.Table:
        """The parts of some rows."""
        raise NotImplementedError

    def merge(self, parts: pa.Table) -> pa.Table:
        """The same parts, as few as can be."""
        raise NotImplementedError

    def finish(self, parts: pa.Table, span: Span, given: pa.Table | None) -> pa.Table:
        """The job's rows, of merged parts that are all there are of their groups."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Runner:
    """What runs pipelines: one of runners.RUNNERS, and its options, as `--name=value`."""

    name: str = "inprocess"
    options: tuple[str, ...] = ()


IN_PROCESS: Final = Runner()


class Chore(Section):
    """Work that is spread over workers as jobs are, and has no table: its fields are its options, too."""

    name: ClassVar[str]
    version: ClassVar[int] = 1
    does: ClassVar[str]
    schema: ClassVar[pa.Schema]
    """Of what it tells."""

    def run(self, root: str, topics: Sequence[str], span: Span, runner: Runner) -> pa.Table:
        """Do it, and tell what was done."""
        raise NotImplementedError


def column(name: str, kind: pa.DataType, about: str) -> pa.Field:
    """A column of a job's table, and what it means."""
    return pa.field(name, kind, metadata={"about": about})


def about(field: pa.Field) -> str:
    """What a column means."""
    said: dict[bytes, bytes] = field.metadata or {}
    return said.get(b"about", b"").decode()


def options_of(job: Job | Chore) -> dict[str, Any]:
    """A job's options, as JSON can say them."""
    return job.model_dump(mode="json")


def table_of(job: Job) -> str:
    """The table that a job writes unless told otherwise."""
    return f"job_{job.name}"

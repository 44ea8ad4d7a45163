"""The parts of a job as they come, in memory that is bounded by what merging leaves."""

from typing import Final

import pyarrow as pa

from headrace.jobs.batch.job import Job

_FEWEST_MERGED: Final = 65_536


class Gathered:
    """Parts as they come, merged when they have doubled: what is held is bounded by what merging leaves."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._held: list[pa.Table] = []
        self._rows, self._bound = 0, _FEWEST_MERGED

    def add(self, parts: pa.Table) -> None:
        """Take some in."""
        self._held.append(parts)
        self._rows += parts.num_rows
        if self._rows > self._bound:
            self._merge()

    def parts(self) -> pa.Table | None:
        """All of them, merged; None if there were none."""
        if not self._held:
            return None
        self._merge()
        return self._held[0]

    def _merge(self) -> None:
        self._held = [self._job.merge(pa.concat_tables(self._held).combine_chunks())]
        self._rows = self._held[0].num_rows
        self._bound = max(_FEWEST_MERGED, 2 * self._rows)

"""The columns of one table as an attempt finds and widens them, and its rows made to fit (schemas/unified.py has the rules).

What the columns are is part of the table's log: `arrow_schema` of the record that changed them last. So whether a schema goes
with the table is decided by what has landed, not by what happens to be in one batch, and flip-flopping versions share files.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from headrace.schemas.unified import Fit, IncompatibleError, fit, project
from headrace.sinks.table.arrow_schema import decode_schema, encode_schema
from headrace.sinks.values import OWN_COLUMNS, Bad, Decoded


class Evolution:
    """The columns of a table, from what its log says on.

    Args:
        landed: `arrow_schema` of the fold; None while nothing has landed.
        aside: whether what is incompatible gets columns of its own instead of going to quarantine.
    """

    def __init__(self, landed: str | None, *, aside: bool) -> None:
        self._landed = landed
        self._aside = aside
        self._fits: dict[bytes, Fit] = {}
        """By the serialized schema: schemas are equal whatever their metadata, and ours tells JSON text from text."""
        self.columns: pa.Schema | None = decode_schema(landed) if landed is not None else None

    @property
    def news(self) -> str | None:
        """What the record has to say of the columns: nothing where they are as they were."""
        if self.columns is None:
            return None
        said = encode_schema(self.columns)
        return None if said == self._landed else said

    def admit(self, batches: Sequence[Decoded]) -> tuple[list[Decoded], list[Bad]]:
        """The batches whose rows go into the table, under its names, and the records of those that do not."""
        admitted: list[Decoded] = []
        bad: list[Bad] = []
        for batch in batches:
            try:
                known = self._fit(batch.rows.schema)
            except IncompatibleError as error:
                bad += [Bad(message, str(error)) for message in batch.messages]
                continue
            renamed = batch.rows if known.names == tuple(batch.rows.column_names) else batch.rows.rename_columns(known.names)
            admitted.append(replace(batch, rows=renamed))
        return admitted, bad

    def _fit(self, schema: pa.Schema) -> Fit:
        key = schema.serialize().to_pybytes()
        known = self._fits.get(key)
        if known is None or known.columns is not self.columns:
            known = self._fits[key] = fit(self.columns, schema, aside=self._aside, last=OWN_COLUMNS)
            self.columns = known.columns
        return known

    def merged(self, batches: Sequence[Decoded]) -> tuple[pa.Table, np.ndarray, np.ndarray, frozenset[int]]:
        """Rows of one partition under the table's columns, in offset order; their offsets, event times and schemas."""
        rows = [project(batch.rows, self._columns) for batch in batches]
        ids = frozenset[int]().union(*(batch.schema_ids for batch in batches))
        if len(rows) == 1:
            return rows[0], batches[0].offsets, batches[0].event_time_ms, ids
        offsets = np.concatenate([batch.offsets for batch in batches])
        times = np.concatenate([batch.event_time_ms for batch in batches])
        order = np.argsort(offsets)
        return pa.concat_tables(rows).take(pa.array(order)), offsets[order], times[order], ids

    def projected(self, rows: pa.Table) -> pa.Table:
        """Rows that were admitted before, under the columns as they are now."""
        return project(rows, self._columns)

    @property
    def _columns(self) -> pa.Schema:
        assert self.columns is not None, "rows were admitted"
        return self.columns

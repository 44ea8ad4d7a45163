"""Sweeping where files are written in place, before they are committed."""

from headrace.sinks.table import upkeep
from headrace.sinks.table.store import carry_out
from tests.sim.table.store import SimStore

UNCOMMITTED = "dt=2026-01-01/hour=03/1890a727-8685-42ca-9263-625fbbc93fb6-0.parquet"


def test_what_was_never_committed_goes_after_a_week_and_what_is_not_ours_stays() -> None:
    store = SimStore()
    store.write(UNCOMMITTED, b"x")
    store.write("dt=2026-01-01/hour=03/somebody-elses.parquet", b"x")
    assert carry_out(upkeep.sweep(stages=False), store) == ()
    store.clock_ms += upkeep.SWEEP_UNNAMED_MS
    assert carry_out(upkeep.sweep(stages=True), store) == ()
    assert carry_out(upkeep.sweep(stages=False), store) == (UNCOMMITTED,)
    assert list(store.files) == ["dt=2026-01-01/hour=03/somebody-elses.parquet"]

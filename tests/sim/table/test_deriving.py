"""Tables that jobs write, under every accident of the simulator: a slice is one run's whole output; guards are needed."""

from headrace.sinks.table import commit, slices, upkeep
from tests.sim.harness import Guard, each_guard, run_seeds
from tests.sim.table.deriving import derived_table


def test_a_slice_is_always_one_runs_whole_output() -> None:
    run_seeds(derived_table, count=150)


@each_guard(
    (commit, "commit", "(RUN_LIFETIME_MS if draft.slice else ATTEMPT_LIFETIME_MS)", "(1 << 62)"),
    (commit, "commit", "tuple(fold.files_of(draft.slice))", "tuple(fold.files_of(draft.slice)[1:])"),
    (commit, "_fenced_by", "slices.of_other_kind(draft.kind, fold) or", "False or"),
    (commit, "_fenced_by", '(slices.overtaken(draft, fold) if draft.slice else "")', '""'),
    (slices, "overtaken", "if record.replaces != (owner.attempt if owner else None):", "if False:"),
    (upkeep, "_old_files", "now_ms - SWEEP_UNNAMED_MS", "now_ms"),
)
def test_without_a_guard_some_seed_mixes_or_loses_a_slice(guard: Guard) -> None:
    assert guard.is_noticed(derived_table, count=400)

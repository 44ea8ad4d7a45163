"""Files that the log has given up, on a store that moves nothing in one step, while an Iceberg table holds a lease."""

from headrace.sinks.iceberg.leases import Leases
from headrace.sinks.table import names, upkeep
from headrace.sinks.table.commit import read_head
from headrace.sinks.table.shown import LEASE_MS, is_shown
from headrace.sinks.table.store import carry_out
from tests.sim.table.store import SimStore

OLD = "dt=2026-01-01/hour=03/1890a727-8685-42ca-9263-625fbbc93fb6-0.parquet"
DAY_MS = 24 * 3_600_000


def held(*tables: str) -> SimStore:
    store = SimStore()
    store.write(OLD, b"x")
    store.clock_ms += upkeep.SWEEP_UNNAMED_MS
    for table in tables:
        carry_out(Leases(names.SHOWN, table).extend(store.clock_ms), store)
    return store


def test_a_lease_keeps_files_where_they_are_until_it_ends() -> None:
    store = held("t")
    assert carry_out(is_shown(), store)
    assert carry_out(upkeep.sweep(stages=False), store) == ()
    store.clock_ms += LEASE_MS
    assert not carry_out(is_shown(), store)
    assert carry_out(upkeep.sweep(stages=False), store) == (OLD,)


def test_a_lease_that_is_extended_each_day_goes_on() -> None:
    store = held("t")
    for _ in range(20):
        store.clock_ms += DAY_MS
        carry_out(Leases(names.SHOWN, "t").extend(store.clock_ms), store)
        carry_out(Leases(names.SHOWN, "t").extend(store.clock_ms), store)
    assert carry_out(is_shown(), store)
    carry_out(Leases(names.SHOWN, "t").old_files(), store)
    assert len([path for path in store.files if path.startswith(names.SHOWN)]) == 7


def test_what_no_snapshot_and_no_fold_names_is_moved_away_by_the_one_that_holds_the_lease() -> None:
    store = held("t")
    candidates = carry_out(Leases(names.SHOWN, "t").old_files(), store)
    assert candidates == (OLD,)
    assert carry_out(Leases(names.SHOWN, "t").take_away(candidates, {OLD}), store) == 0
    assert carry_out(Leases(names.SHOWN, "t").take_away(candidates, set()), store) == 1
    assert names.removed(OLD) in store.files


def test_where_two_iceberg_tables_show_a_landed_one_neither_takes_files_from_the_other() -> None:
    store = held("t", "u")
    assert carry_out(Leases(names.SHOWN, "t").old_files(), store) == ()
    carry_out(Leases(names.SHOWN, "u").end(), store)
    assert carry_out(Leases(names.SHOWN, "t").old_files(), store) == (OLD,)
    carry_out(Leases(names.SHOWN, "t").end(), store)
    assert not carry_out(is_shown(), store)
    assert carry_out(read_head(), store).seq == -1


def test_where_files_are_known_by_another_name_they_leave_their_place_and_stay_in_removed() -> None:
    store, mine = held(), Leases(names.HELD, "t")
    carry_out(mine.extend(store.clock_ms), store)
    assert not carry_out(is_shown(), store), "engines that read the directory wait for nobody"
    quarantine = f"{names.QUARANTINE}/1890a727.jsonl.zst"
    for path in (OLD, quarantine):
        store.move(path, names.removed(path)) if path == OLD else store.write(names.removed(path), b"x")
    store.clock_ms += upkeep.SWEEP_REMOVED_MS
    assert carry_out(upkeep.sweep(), store) == (names.removed(quarantine),)
    candidates = carry_out(mine.old_files(), store)
    assert candidates == (OLD,)
    assert carry_out(mine.take_away(candidates, {OLD}), store) == 0
    assert carry_out(mine.take_away(candidates, set()), store) == 1
    assert names.removed(OLD) not in store.files


def test_a_lease_that_has_ended_keeps_nothing_in_removed() -> None:
    store = held()
    carry_out(Leases(names.HELD, "t").extend(store.clock_ms), store)
    store.move(OLD, names.removed(OLD))
    store.clock_ms += LEASE_MS
    assert carry_out(upkeep.sweep(), store) == (names.removed(OLD),)

"""What `headrace check --repair` mends: moves that a crash left undone, and what nobody needs any more.

It never deletes a live file, nor one that an attempt in progress may yet commit: what lies among the data without a name in the
log is moved to `removed/` when it is 7 days old, and swept from there a day later.
"""

from headrace.errors import CorruptError, VersionError
from headrace.sinks.table import names, upkeep
from headrace.sinks.table.commit import read_head
from headrace.sinks.table.generations import read_generation
from headrace.sinks.table.store import Entry, List, Move, Steps, Store, StoreNow, carry_out


def repair_table(store: Store) -> list[str]:
    """Mend one table; what was done, a line each. A table whose log cannot be folded is left alone.

    Raises:
        StorageError: the store failed.
    """
    try:
        fold = carry_out(read_head(), store)
        leaving = sum(size is not None for size in store.sizes(tuple(fold.removed)))
        placed = carry_out(upkeep.finish_moves(fold), store)
        strangers = carry_out(_strangers(stages=store.stages), store)
        swept = carry_out(upkeep.sweep(stages=store.stages), store)
    except (CorruptError, VersionError):
        return []  # the check says what is wrong
    done = [(leaving, "taken out, moved to removed/"), (placed, "live, moved from staging to their place")]
    done += [(len(strangers), "that the log does not name, a week old, moved to removed/"), (len(swept), "swept")]
    return [f"{count} files {what}" for count, what in done if count]


def _strangers(*, stages: bool) -> Steps[list[str]]:
    """Take out of the data what no fold names and no attempt can be about to commit."""
    if not stages:
        return []  # there attempts in progress write among the data, and the sweeper knows them
    now_ms: int = yield StoreNow()
    listed: tuple[Entry, ...] = yield List("", recursive=True)
    old = [entry.name for entry in listed if is_data(entry.name) and entry.changed_ms <= now_ms - upkeep.SWEEP_UNNAMED_MS]
    fold = yield from read_head()
    folds = [fold]
    if fold.fork is not None:
        folds.append((yield from read_generation(fold.fork.next)))
    strangers = [path for path in old if not any(each.names(path) for each in folds)]
    if strangers:
        yield Move(tuple((path, names.removed(path)) for path in strangers))
    return strangers


def data_files(store: Store) -> set[str]:
    """What engines that read the directory take for data.

    Nothing where files are written in place, before they are committed: there no engine is promised anything by directory.
    """
    if not store.stages:
        return set()
    return {entry.name for entry in store.list("", after="", recursive=True) if is_data(entry.name)}


def is_data(path: str) -> bool:
    """Whether an engine that skips names with `_` or `.` first takes a file for data."""
    return not any(part.startswith(("_", ".")) for part in path.split("/"))

"""Tables that jobs write: each slice of one is the whole output of one run, which the next run replaces. Pure.

A table is either landed from a topic or derived by jobs, and its first record says which, for ever. A `replace` record names
the attempt whose output it takes out: put-if-absent makes that a compare-and-swap, so of two runs that race one wins, and the
other's files come to nothing. Compaction and expiry change the files of a slice, and not whose output it is.
"""

from typing import TYPE_CHECKING, Final

from headrace.sinks.table.record import CommitRecord

if TYPE_CHECKING:
    from headrace.sinks.table.fold import Fold

_OF_ANY: Final = ("compact", "expire")


def lies_in(path: str, directory: str) -> bool:
    """Whether a file is one of a slice."""
    return path.startswith(f"{directory}/")


def of_other_kind(kind: str, fold: "Fold") -> str:
    """Why a record of this kind does not go with a table, whatever else it says; empty if it does."""
    if fold.is_derived and kind not in ("replace", *_OF_ANY):
        return "the table is a job's output"
    if fold.seq >= 0 and not fold.is_derived and kind == "replace":
        return "the table is landed from a topic"
    return ""


def overtaken(record: CommitRecord, fold: "Fold") -> str:
    """Why a replace cannot follow a fold: its slice is another run's by now, or part of another; empty if it can."""
    assert record.slice is not None, "a replace names its slice"
    owner = fold.slices.get(record.slice)
    if record.replaces != (owner.attempt if owner else None):
        return f"{record.slice} is the output of run {owner.attempt if owner else None}, and not of {record.replaces}"
    for other in fold.slices:
        if lies_in(other, record.slice) or lies_in(record.slice, other):
            return f"{record.slice} and {other} overlap"
    return ""


def refused(record: CommitRecord, fold: "Fold") -> str:
    """Why a record cannot be history in a table of these slices; empty if it can."""
    if reason := of_other_kind(record.kind, fold):
        return reason
    if record.kind == "compact" and fold.is_derived:
        return _refused_compaction(record, fold)
    if record.kind != "replace":
        return ""
    assert record.slice is not None, "it has been checked"
    if record.ranges or record.quarantine or record.audit or record.streams:
        return "is a job's output, and says what has landed"
    if set(record.remove) != set(fold.files_of(record.slice)):
        return f"does not take out exactly the files of {record.slice}"
    strange = [file.path for file in record.add if not lies_in(file.path, record.slice)]
    return f"adds {strange[0]}, which is not in {record.slice}" if strange else overtaken(record, fold)


def _refused_compaction(record: CommitRecord, fold: "Fold") -> str:
    paths = [*record.remove, *(file.path for file in record.add)]
    if any(all(lies_in(path, directory) for path in paths) for directory in fold.slices):
        return ""
    return "merges files of several slices"

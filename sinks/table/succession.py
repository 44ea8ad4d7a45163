"""Whether a record may follow a fold: what it goes on from, takes out, keeps and hands over is there (landing.md)."""

from typing import TYPE_CHECKING

from headrace.sinks.table import slices
from headrace.sinks.table.record import CommitRecord

if TYPE_CHECKING:
    from headrace.sinks.table.fold import Fold


def refused(record: CommitRecord, fold: "Fold") -> str:
    """Why a record, the next by its number and `prev`, cannot be history all the same; empty if it can."""
    if fold.is_closed:
        return "follows the end of its generation"
    if reason := slices.refused(record, fold):
        return reason
    for landed in record.ranges:
        expected = fold.end(landed.incarnation, landed.partition)
        if landed.start != expected or landed.end < landed.start:
            return f"does not follow: partition {landed.partition} goes on at {landed.start}, but ended at {expected}"
    for path in record.remove:
        if not fold.has(path):
            return f"removes {path}, which is not live"
        if fold.is_pinned(path):
            return f"removes {path}, which a rewind keeps"
    added = [file.path for file in record.add] + ([record.quarantine.path] if record.quarantine else [])
    for path in added:
        if fold.has(path) and path not in record.remove:
            return f"adds {path}, which is live already"
    return _rewind_refused(record, fold) if record.kind in ("fork", "close") else ""


def _rewind_refused(record: CommitRecord, fold: "Fold") -> str:
    if record.next is None or record.ranges or record.remove:
        return f"is no {record.kind} record: it names no next generation, or changes this one"
    if record.kind == "fork":
        if record.state is None or record.next <= (fold.fork.next if fold.fork else fold.generation):
            return f"forks off generation {record.next}, which is not a new one, or not its state"
        gone = [path for path in record.keep if path not in fold.files]
        gone += [path for path in record.keeps_quarantine if path not in fold.quarantined]
        return f"keeps {gone[0]}, which is not live" if gone else ""
    if fold.fork is None or fold.fork.next != record.next:
        return f"hands over to generation {record.next}, which is not forked off"
    behind = next(fold.behind(record.ends), "")
    return f"hands over too early: {behind}" if behind else ""

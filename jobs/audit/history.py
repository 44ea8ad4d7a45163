"""Which records of a table say other sums of their files than the files hold: as far back as records and files are kept."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from headrace.jobs.audit.recount import Key, count_file, merged
from headrace.jobs.audit.window_rows import holding
from headrace.sinks.stores.roots import open_root
from headrace.sinks.table import names, record
from headrace.sinks.table.audit_totals import AuditTotal
from headrace.sinks.table.reader import TableSnapshot


@dataclass(frozen=True, slots=True)
class OtherSums:
    """A record that says of an agent's window what its files do not hold."""

    seq: int
    agent: str
    window_start_ms: int
    recorded: int
    counted: int


def records_with_other_sums(root: Path | str, table: TableSnapshot, keys: Collection[tuple[str, int]]) -> Iterator[OtherSums]:
    """Look at the records of the table's generation that tell of windows (agent, start), and whose files are all still live.

    Raises:
        CorruptError, StorageError: a file or record cannot be read.
    """
    live = {file.name: file for file in table.files}
    for one in _loads(root, table):
        said = {(total.agent, total.window_start_ms): total for total in one.audit}
        if any(file.path not in live for file in one.add):
            continue
        if not said.keys() & keys and not holding([live[file.path] for file in one.add], {start_ms for _, start_ms in keys}):
            continue
        sums: dict[Key, AuditTotal] = {}
        for file in one.add:
            merged(sums, count_file(root, table.topic, live[file.path]))
        for key in sorted({key for key in keys if key in said or key in sums}):
            total, counted = said.get(key), sums.get(key, AuditTotal())
            recorded = AuditTotal(total.count, hash=int(total.hash, 16)) if total else AuditTotal()
            if (recorded.count, recorded.hash) != (counted.count, counted.hash):
                yield OtherSums(one.seq, *key, recorded.count, counted.count)


def _loads(root: Path | str, table: TableSnapshot) -> Iterator[record.CommitRecord]:
    store = open_root(root).table(table.topic)
    for entry in store.list(names.log_directory(table.generation), after="", recursive=False):
        seq = names.seq_of(entry.name, names.RECORD_SUFFIX)
        if seq is None or seq > table.seq:
            continue
        path = names.record_path(table.generation, seq)
        (data,) = store.get((path,))
        if data is not None and (one := record.decode(data, path)).kind == "load":
            yield one

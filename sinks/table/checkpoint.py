"""A fold as one file: zstd-compressed JSON. It replaces the records up to its `seq` for whoever resumes (landing.md)."""

import json
from collections.abc import Mapping
from typing import Any, Final

import zstandard

from headrace.errors import CorruptError
from headrace.sinks.table.audit_totals import AuditTotal, AuditTotals, Day, day_start_ms
from headrace.sinks.table.fold import Fold, Fork, LandedStream, LostGap, Owner, PartitionEnd
from headrace.sinks.table.intervals import IntervalSet
from headrace.sinks.table.record import VERSION, DataFile, Gap, Job, Quarantine, WindowCount, as_json, check_version, from_json

REWIND_VERSION: Final = 2
"""Of checkpoints that tell of a rewind: a headrace that knows none would go on with a generation that is closed."""
DERIVED_VERSION: Final = 3
"""Of checkpoints of tables that jobs write: a headrace that knows none would load a topic into them."""
SETTLED_VERSION: Final = 4
"""Of checkpoints with sums of days: a headrace that knows none would forget them."""


def encode(fold: Fold) -> bytes:
    """The bytes of the checkpoint of `fold`, which forgets streams that have long been untouched."""
    fold.forget_old_streams()
    rewound = REWIND_VERSION if fold.fork or fold.generation > 1 else VERSION
    body = {
        "version": SETTLED_VERSION if fold.audit.settled() else DERIVED_VERSION if fold.is_derived else rewound,
        "generation": fold.generation,
        "seq": fold.seq,
        "attempt": fold.attempt,
        "created_ms": fold.created_ms,
        "input": fold.input,
        "files": [as_json(file) for file in fold.files.values()],
        **state(fold),
        "is_opened": fold.is_opened,
        "is_closed": fold.is_closed,
        "fork": _fork_as_json(fold.fork),
        "slices": {name: as_json(owner) for name, owner in fold.slices.items()},
    }
    return zstandard.ZstdCompressor(write_checksum=True).compress(json.dumps(body, separators=(",", ":")).encode())


def state(fold: Fold) -> dict[str, Any]:
    """What a fold holds beside its files, as plain JSON values; a fork record carries that of the next generation."""
    return {
        "arrow_schema": fold.arrow_schema,
        "ends": [
            {"incarnation": incarnation, "partition": partition, **as_json(end)}
            for (incarnation, partition), end in sorted(fold.ends.items())
        ],
        "streams": [
            [partition, agent, stream, list(known.landed), known.touched_ms]
            for (partition, agent, stream), known in sorted(fold.streams.items())
        ],
        "audit": [[agent, start, *_total(total)] for (agent, start), total in sorted(fold.audit.windows.items())],
        "days": [[start, day.touched_ms, day.total and _total(day.total)] for start, day in sorted(fold.audit.days.items())],
        "expired_ms": fold.expired_ms,
        "uncounted_until_ms": fold.uncounted_until_ms,
        "lost": [{"incarnation": lost.incarnation, "partition": lost.partition, **as_json(lost.gap)} for lost in fold.lost],
        "quarantined": [
            {key: value for key, value in as_json(found).items() if key != "windows"} for found in fold.quarantined.values()
        ],
        "quarantine_windows": [as_json(window) for window in fold.quarantine_windows],
    }


def decode(data: bytes, where: str) -> Fold:
    """Read a checkpoint; `where` names it in errors.

    Raises:
        VersionError: a newer version.
        CorruptError: not a checkpoint.
    """
    try:
        frame = zstandard.ZstdDecompressor().decompressobj()
        body: dict[str, Any] = json.loads(frame.decompress(data))
        if not frame.eof:  # with the whole frame its checksum has been compared
            raise ValueError("it has no end")
        check_version(body, where, newest=SETTLED_VERSION)
        fold = Fold(body["generation"], body["seq"], body["attempt"], body["created_ms"], body["input"])
        fold.files = {file["path"]: from_json(DataFile, file) for file in body["files"]}
        _take_state(fold, body)
        fold.is_opened, fold.is_closed = body.get("is_opened", True), body.get("is_closed", False)
        fold.fork = _fork(body["fork"]) if body.get("fork") else None
        fold.slices = {name: _owner(owner) for name, owner in body.get("slices", {}).items()}
    except (ValueError, KeyError, TypeError, AttributeError, zstandard.ZstdError) as error:
        raise CorruptError(f"{where} is not a checkpoint: {error!r}") from error
    fold.attempts = {fold.seq: fold.attempt} if fold.attempt is not None else {}
    fold.checkpoint_seq, fold.checkpoint_ms = fold.seq, fold.created_ms
    return fold


def _owner(body: Mapping[str, Any]) -> Owner:
    return Owner(body["attempt"], body["seq"], body["created_ms"], from_json(Job, body["job"]))


def begin(fork: Fork) -> Fold:
    """The next generation before its first record: a fold of its own, which counts on from the fork record.

    Raises:
        CorruptError: the fork record's state is none.
    """
    fold = Fold(fork.next, fork.seq, fork.attempt, fork.created_ms, fork.input, files=dict(fork.files), is_opened=False)
    try:
        _take_state(fold, fork.state)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptError(f"the fork record {fork.seq} does not say how generation {fork.next} begins: {error!r}") from error
    fold.attempts, fold.checkpoint_ms = {fork.seq: fork.attempt}, fork.created_ms
    return fold


def _take_state(fold: Fold, body: Mapping[str, Any]) -> None:
    fold.arrow_schema = body.get("arrow_schema")
    fold.ends, fold.lost = {}, []
    for end in body["ends"]:
        rest = dict(end)
        key = rest.pop("incarnation"), rest.pop("partition")
        fold.ends[key] = PartitionEnd(**rest)
    fold.streams = {
        (partition, agent, stream): LandedStream(IntervalSet((start, end) for start, end in landed), touched_ms)
        for partition, agent, stream, landed, touched_ms in body["streams"]
    }
    windows = {(agent, start): _as_total(total) for agent, start, *total in body["audit"]}
    said = body.get("days", [])
    days = {start: Day(touched_ms, total and _as_total(total)) for start, touched_ms, total in said}
    if "days" not in body:  # an earlier headrace tells all windows apart
        days = {day_start_ms(start): Day(fold.created_ms) for _, start in windows}
    fold.audit, fold.expired_ms = AuditTotals(windows, days), body.get("expired_ms")
    fold.uncounted_until_ms = body.get("uncounted_until_ms")
    for gap in body["lost"]:
        rest = dict(gap)
        fold.lost.append(LostGap(rest.pop("incarnation"), rest.pop("partition"), from_json(Gap, rest)))
    quarantined = [from_json(Quarantine, found) for found in body["quarantined"]]
    if "quarantine_windows" in body:
        fold.quarantined = {found.path: found for found in quarantined}
        fold.quarantine_windows = tuple(from_json(WindowCount, window) for window in body["quarantine_windows"])
    else:  # an earlier headrace kept them with the files
        for found in quarantined:
            fold.quarantine(found)


def _total(total: AuditTotal) -> list[Any]:
    return [total.count, total.bytes, f"{total.hash:016x}", total.duplicates]


def _as_total(said: list[Any]) -> AuditTotal:
    count, size, content_hash, duplicates = said
    return AuditTotal(count, size, int(content_hash, 16), duplicates)


def _fork_as_json(fork: Fork | None) -> dict[str, Any] | None:
    if fork is None:
        return None
    return {
        "next": fork.next,
        "seq": fork.seq,
        "attempt": fork.attempt,
        "created_ms": fork.created_ms,
        "input": fork.input,
        "kept": sorted(fork.kept),
        "files": [as_json(file) for file in fork.files.values()],
        "state": fork.state,
    }


def _fork(body: Mapping[str, Any]) -> Fork:
    return Fork(
        body["next"],
        body["seq"],
        body["attempt"],
        body["created_ms"],
        body["input"],
        frozenset(body["kept"]),
        {file["path"]: from_json(DataFile, file) for file in body["files"]},
        body["state"],
        frozenset(found["path"] for found in body["state"]["quarantined"]),
    )

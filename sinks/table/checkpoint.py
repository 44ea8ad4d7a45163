"""A fold as one file: zstd-compressed JSON. It replaces the records up to its `seq` for whoever resumes (landing.md)."""

import json
from typing import Any

import zstandard

from headrace.errors import CorruptError
from headrace.sinks.table.fold import AuditTotal, Fold, LandedStream, LostGap, PartitionEnd
from headrace.sinks.table.intervals import IntervalSet
from headrace.sinks.table.record import VERSION, DataFile, Gap, Quarantine, as_json, check_version, from_json


def encode(fold: Fold) -> bytes:
    """The bytes of the checkpoint of `fold`, which forgets streams that have long been untouched."""
    fold.forget_old_streams()
    body = {
        "version": VERSION,
        "generation": fold.generation,
        "seq": fold.seq,
        "attempt": fold.attempt,
        "created_ms": fold.created_ms,
        "input": fold.input,
        "files": [as_json(file) for file in fold.files.values()],
        "ends": [
            {"incarnation": incarnation, "partition": partition, **as_json(end)}
            for (incarnation, partition), end in sorted(fold.ends.items())
        ],
        "streams": [
            [partition, agent, stream, list(known.landed), known.touched_ms]
            for (partition, agent, stream), known in sorted(fold.streams.items())
        ],
        "audit": [
            [agent, start, total.count, total.bytes, f"{total.hash:016x}", total.duplicates]
            for (agent, start), total in sorted(fold.audit.items())
        ],
        "lost": [{"incarnation": lost.incarnation, "partition": lost.partition, **as_json(lost.gap)} for lost in fold.lost],
        "quarantined": [as_json(quarantine) for quarantine in fold.quarantined],
    }
    return zstandard.ZstdCompressor(write_checksum=True).compress(json.dumps(body, separators=(",", ":")).encode())


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
        check_version(body, where)
        fold = Fold(body["generation"], body["seq"], body["attempt"], body["created_ms"], body["input"])
        fold.files = {file["path"]: from_json(DataFile, file) for file in body["files"]}
        fold.ends = {(end.pop("incarnation"), end.pop("partition")): PartitionEnd(**end) for end in body["ends"]}
        fold.streams = {
            (partition, agent, stream): LandedStream(IntervalSet((start, end) for start, end in landed), touched_ms)
            for partition, agent, stream, landed, touched_ms in body["streams"]
        }
        fold.audit = {
            (agent, start): AuditTotal(count, size, int(content_hash, 16), duplicates)
            for agent, start, count, size, content_hash, duplicates in body["audit"]
        }
        fold.lost = [LostGap(gap.pop("incarnation"), gap.pop("partition"), from_json(Gap, gap)) for gap in body["lost"]]
        fold.quarantined = [from_json(Quarantine, quarantine) for quarantine in body["quarantined"]]
    except (ValueError, KeyError, TypeError, AttributeError, zstandard.ZstdError) as error:
        raise CorruptError(f"{where} is not a checkpoint: {error!r}") from error
    fold.attempts = {fold.seq: fold.attempt} if fold.attempt is not None else {}
    fold.checkpoint_seq, fold.checkpoint_ms = fold.seq, fold.created_ms
    return fold

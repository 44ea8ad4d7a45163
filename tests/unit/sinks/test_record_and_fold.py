"""Commit records and their fold: what landing.md says of them, sentence by sentence."""

import json
from dataclasses import replace

import pytest
import zstandard

from headrace.audit import WINDOW_MS
from headrace.errors import CorruptError, VersionError
from headrace.sinks.event_time import HOUR_MS
from headrace.sinks.table import checkpoint, record
from headrace.sinks.table.fold import FORGET_STREAM_MS, Fold
from headrace.sinks.table.record import (
    AuditSum,
    CommitRecord,
    DataFile,
    Gap,
    LandedRange,
    OffsetRange,
    Quarantine,
    StreamLanded,
    WindowCount,
)
from headrace.sinks.table.window_counts import MOST_WINDOWS

FILE = DataFile(
    "dt=2026-11-22/hour=13/one-0.parquet", "parquet", 96, 4711, "crc32c:0badcafe", "00000000000000ff", 1_000, 2_000, (7,),
    (OffsetRange(0, 3, 100, 200),),
)  # fmt: skip
RANGE = LandedRange(
    0,
    3,
    0,
    200,
    96,
    1,
    1,
    (Gap(0, 100, "before", None, 900), Gap(150, 152, "lost", 1_100, 1_200)),
    199,
    5,
    1_999,
    "abcd",
    "id-1",
)
LOAD = CommitRecord(
    "load", "one", "host:17", 5_000,
    ranges=(RANGE,), add=(FILE,), quarantine=Quarantine("_headrace/quarantine/one.jsonl.zst", 1, (WindowCount(0, 1),)),
    audit=(AuditSum("agent", 600_000, 96, 9_600, "ffffffffffffffff", 1),),
    streams=(StreamLanded("agent", "stream", 3, ((0, 51_200),)),), input="avro",
)  # fmt: skip


def after(fold: Fold, **changes: object) -> CommitRecord:
    return replace(CommitRecord("load", "next", "host:18", 6_000, seq=fold.seq + 1, prev=fold.attempt), **changes)  # type: ignore[arg-type]  # whatever the test changes


@pytest.fixture
def fold() -> Fold:
    fold = Fold()
    fold.apply(LOAD)
    return fold


def test_a_record_is_the_json_of_the_design_page() -> None:
    body = json.loads(record.encode(LOAD))
    assert body["version"] == 1
    assert body["prev"] is None
    assert body["ranges"][0]["gaps"][1] == {"from": 150, "to": 152, "why": "lost", "after_ms": 1_100, "before_ms": 1_200}
    assert body["streams"] == [{"agent": "agent", "stream": "stream", "partition": 3, "landed": [[0, 51_200]]}]
    assert body["add"][0]["ranges"] == [{"incarnation": 0, "partition": 3, "start": 100, "end": 200}]


def test_a_record_comes_back_as_it_was_written() -> None:
    assert record.decode(record.encode(LOAD), "record 0") == LOAD


def test_unknown_fields_are_kept_at_every_level() -> None:
    body = json.loads(record.encode(LOAD))
    body["mood"] = "good"
    body["ranges"][0]["colour"] = "blue"
    body["add"][0]["ranges"][0]["weight"] = 3
    again = json.loads(record.encode(record.decode(json.dumps(body).encode(), "record 0")))
    assert again == body


@pytest.mark.parametrize("change", [{"version": 2}, {"kind": "something new"}])
def test_a_newer_version_or_kind_is_refused_not_guessed_at(change: dict[str, object]) -> None:
    body = {**json.loads(record.encode(LOAD)), **change}
    with pytest.raises(VersionError, match="upgrade"):
        record.decode(json.dumps(body).encode(), "record 0")


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b'{"version": 1, "kind": "load"}'])
def test_bytes_that_are_no_record_are_corruption(data: bytes) -> None:
    with pytest.raises(CorruptError, match="record 5"):
        record.decode(data, "record 5")


@pytest.mark.parametrize("path", ["/etc/passwd", "../other/file", "dt=1/../../x", "dt=1//x", ""])
def test_a_path_outside_the_table_is_corruption(path: str) -> None:
    body = json.loads(record.encode(LOAD))
    body["add"][0]["path"] = path
    with pytest.raises(CorruptError):
        record.decode(json.dumps(body).encode(), "record 0")


def test_the_fold_of_a_load_holds_its_files_ends_sums_and_lost_gaps(fold: Fold) -> None:
    assert list(fold.files) == [FILE.path]
    assert fold.end(0, 3) == 200
    assert fold.ends[0, 3].last_fingerprint == "abcd"
    assert fold.audit.windows["agent", 600_000].hash == 0xFFFFFFFFFFFFFFFF
    assert [(lost.partition, lost.gap.start) for lost in fold.lost] == [(3, 150)]
    assert list(fold.streams[3, "agent", "stream"].landed) == [(0, 51_200)]


def test_audit_hashes_add_up_modulo_two_to_the_64(fold: Fold) -> None:
    fold.apply(after(fold, audit=(AuditSum("agent", 600_000, 2, 20, "0000000000000003", 4),)))
    total = fold.audit.windows["agent", 600_000]
    assert (total.count, total.bytes, total.hash, total.duplicates) == (98, 9_620, 2, 5)


def test_a_range_without_records_keeps_the_fingerprint_of_the_last_record(fold: Fold) -> None:
    fold.apply(after(fold, ranges=(LandedRange(0, 3, 200, 203, 0, 0, 0, (Gap(200, 203, "control"),)),)))
    assert (fold.ends[0, 3].offset, fold.ends[0, 3].last_offset, fold.ends[0, 3].topic_id) == (203, 199, "id-1")


def test_a_compaction_takes_files_out_and_puts_others_in(fold: Fold) -> None:
    other = replace(FILE, path="dt=2026-11-22/hour=13/two-0.parquet")
    fold.apply(after(fold, kind="compact", add=(other,), remove=(FILE.path,)))
    assert list(fold.files) == [other.path]


@pytest.mark.parametrize(
    "changes",
    [
        {"seq": 2},
        {"prev": "somebody else"},
        {"generation": 2},
        {"ranges": (LandedRange(0, 3, 199, 201, 2, 0, 0),)},
        {"ranges": (LandedRange(0, 3, 201, 202, 1, 0, 0),)},
        {"remove": ("dt=2026-11-22/hour=13/never.parquet",)},
        {"add": (FILE,)},
    ],
)
def test_a_record_that_does_not_follow_is_corruption_and_changes_nothing(fold: Fold, changes: dict[str, object]) -> None:
    before = checkpoint.encode(fold)
    with pytest.raises(CorruptError):
        fold.apply(after(fold, **changes))
    assert checkpoint.encode(fold) == before


def test_a_later_incarnation_starts_at_zero_beside_the_earlier(fold: Fold) -> None:
    fold.apply(after(fold, ranges=(LandedRange(1, 3, 0, 10, 10, 0, 0, last_offset=9),)))
    assert (fold.end(0, 3), fold.end(1, 3), fold.incarnation(3), fold.incarnation(4)) == (200, 10, 1, 0)


def test_a_checkpoint_is_the_fold_and_goes_on_like_it(fold: Fold) -> None:
    again = checkpoint.decode(checkpoint.encode(fold), "checkpoint 0")
    again.apply(after(fold))
    fold.apply(after(fold))
    assert (again.files, again.ends, again.streams, again.audit) == (fold.files, fold.ends, fold.streams, fold.audit)
    assert (again.lost, again.quarantined, again.input, again.attempt) == (fold.lost, fold.quarantined, "avro", "next")


def test_half_a_year_of_poison_leaves_a_checkpoint_of_bounded_windows_and_the_last_hours_exact() -> None:
    commits = 180 * 8
    for strange in (None, -90_001, 90_001):  # beside it records of any time in the two years before or after
        fold = Fold()
        for seq in range(commits):
            fold.created_ms = seq * 18 * WINDOW_MS
            windows = [WindowCount(fold.created_ms + number * WINDOW_MS, number) for number in range(1, 19)]
            windows += [] if strange is None else [WindowCount((seq * 7919) % strange * WINDOW_MS, 1)]
            fold.quarantine(Quarantine(f"q{seq}", sum(one.count for one in windows), tuple(windows)))
        counts = fold.quarantine_windows
        assert MOST_WINDOWS // 2 < len(counts) <= MOST_WINDOWS
        assert sum(one.count for one in counts) == sum(found.count for found in fold.quarantined.values())
        recent = [one for one in counts if one.window_start_ms >= fold.created_ms - 6 * HOUR_MS]
        assert strange == 90_001 or [one.end_ms - one.window_start_ms for one in recent] == [WINDOW_MS] * 55
        assert len(json.dumps(checkpoint.state(fold)["quarantine_windows"])) < 100_000
        assert checkpoint.decode(checkpoint.encode(fold), "it").quarantine_windows == counts


def test_a_checkpoint_with_windows_beside_the_files_is_read_as_their_sum(fold: Fold) -> None:
    said = json.loads(zstandard.ZstdDecompressor().decompressobj().decompress(checkpoint.encode(fold)))
    del said["quarantine_windows"]
    said["quarantined"] = [
        {"path": f"q{n}", "count": 2, "windows": [{"window_start_ms": n, "count": 2}]} for n in (0, WINDOW_MS)
    ]
    old = checkpoint.decode(zstandard.ZstdCompressor().compress(json.dumps(said).encode()), "it")
    assert old.quarantine_windows == (WindowCount(0, 2), WindowCount(WINDOW_MS, 2))
    assert list(old.quarantined.values()) == [Quarantine("q0", 2), Quarantine(f"q{WINDOW_MS}", 2)]


@pytest.mark.parametrize("data", [b"", b"not zstd", b"\x28\xb5\x2f\xfd\x00\x00\x01\x00\x00"])
def test_bytes_that_are_no_checkpoint_are_corruption(data: bytes) -> None:
    with pytest.raises(CorruptError, match="checkpoint 9"):
        checkpoint.decode(data, "checkpoint 9")


def test_a_stream_untouched_for_a_week_is_forgotten_by_the_checkpoint(fold: Fold) -> None:
    for day in range(1, 8):
        young = StreamLanded("agent", "young", 3, ((0, day),))
        fold.apply(after(fold, attempt=f"day-{day}", created_ms=5_000 + day * FORGET_STREAM_MS // 7, streams=(young,)))
    assert len(checkpoint.decode(checkpoint.encode(fold), "c").streams) == 2
    fold.apply(after(fold, attempt="later", created_ms=5_001 + FORGET_STREAM_MS))
    assert list(checkpoint.decode(checkpoint.encode(fold), "c").streams) == [(3, "agent", "young")]


def test_a_loader_whose_clock_is_years_ahead_makes_no_stream_forgotten(fold: Fold) -> None:
    fold.apply(after(fold, created_ms=5_000 + 500 * FORGET_STREAM_MS))
    fold.apply(after(fold, attempt="sane", created_ms=6_000, streams=(StreamLanded("agent", "young", 3, ((0, 9),)),)))
    assert {stream for _, _, stream in checkpoint.decode(checkpoint.encode(fold), "c").streams} == {"stream", "young"}


def test_a_lost_gap_at_the_end_of_a_range_is_bounded_by_the_next_range(fold: Fold) -> None:
    gap = Gap(200, 300, "lost", 1_999)
    fold.apply(after(fold, ranges=(LandedRange(0, 3, 200, 300, 0, 0, 0, (gap,)),)))
    assert fold.lost[-1].gap.before_ms is None
    fold.apply(
        after(fold, attempt="more", ranges=(LandedRange(0, 3, 300, 310, 10, 0, 0, last_offset=309, last_timestamp_ms=7_000),))
    )
    assert fold.lost[-1].gap == replace(gap, before_ms=7_000)


def test_a_checkpoint_that_was_damaged_is_never_another_fold(fold: Fold) -> None:
    sound = checkpoint.encode(fold)
    damaged = [sound[:at] + bytes([sound[at] ^ bit]) + sound[at + 1 :] for at in range(len(sound)) for bit in (1, 16, 128)]
    damaged += [sound[:at] for at in range(len(sound))]
    for data in damaged:
        try:
            again = checkpoint.decode(data, "checkpoint 0")
        except CorruptError:
            continue
        assert (again.files, again.ends, again.audit, again.streams) == (fold.files, fold.ends, fold.audit, fold.streams)


def test_a_record_balances_only_if_rows_quarantine_duplicates_and_gaps_fill_its_range() -> None:
    assert RANGE.balances
    assert not replace(RANGE, rows=97).balances

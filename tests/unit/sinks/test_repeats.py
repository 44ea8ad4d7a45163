"""One row per line: what counts as a repeat, and what must never count as one (audit.md)."""

import numpy as np
import pyarrow as pa
import pytest

from headrace.audit import event_hash
from headrace.sinks.audit_sums import has_identity
from headrace.sinks.repeats import Repeats
from headrace.sinks.table.fold import Fold
from headrace.sinks.table.record import CommitRecord

NAMES = ("agent_id", "stream_id", "position", "since", "part", "message", "encoding")
TYPES = (pa.string(), pa.string(), pa.int64(), pa.int64(), pa.int32(), pa.string(), pa.string())
SCHEMA = pa.schema([pa.field(name, kind, nullable=False) for name, kind in zip(NAMES, TYPES, strict=True)])
Row = tuple[int, int, int, str]  # position, since, part, message


def table(*rows: Row, encoding: str = "utf-8", stream: str = "s") -> pa.Table:
    columns = [["a"] * len(rows), [stream] * len(rows), *map(list, zip(*rows, strict=True)), [encoding] * len(rows)]
    return pa.table(columns, schema=SCHEMA)


def kept(repeats: Repeats, *rows: Row, encoding: str = "utf-8", partition: int = 0) -> list[bool]:
    batch = table(*rows, encoding=encoding)
    mask: list[bool] = repeats.keep(partition, batch, np.full(batch.num_rows, 1_234_567, np.int64)).tolist()
    return mask


def committed(fold: Fold, repeats: Repeats) -> Repeats:
    """The next attempt, after the one before was committed."""
    fold.apply(CommitRecord("load", f"n{fold.seq}", "l", 1, streams=repeats.streams(), seq=fold.seq + 1, prev=fold.attempt))
    return Repeats(fold.streams)


LINES: list[Row] = [(0, 0, 0, "abc"), (4, 4, 0, ""), (5, 5, 0, "grüezi"), (13, 13, 0, "x")]


def test_the_same_records_again_are_repeats_in_one_batch_and_after_a_commit() -> None:
    fold = Fold()
    repeats = Repeats(fold.streams)
    assert kept(repeats, *LINES, *LINES[1:]) == [True] * 4 + [False] * 3
    assert kept(committed(fold, repeats), *LINES, (15, 15, 0, "new")) == [False] * 4 + [True]


def test_terminated_lines_of_a_stream_make_one_interval_however_they_are_batched() -> None:
    fold = Fold()
    repeats = Repeats(fold.streams)
    kept(repeats, *LINES[:2])
    kept(repeats, LINES[2])
    kept(committed(fold, repeats), LINES[3])
    repeats = committed(fold, Repeats(fold.streams))
    kept(repeats, LINES[3])
    committed(fold, repeats)
    (stream,) = fold.streams.values()
    assert list(stream.landed) == [(0, 14)]


def test_what_is_appended_after_an_unterminated_tail_is_no_repeat() -> None:
    fold = Fold()
    repeats = Repeats(fold.streams)
    assert kept(repeats, (0, 0, 0, "tail")) == [True]
    repeats = committed(fold, repeats)
    assert kept(repeats, (0, 0, 0, "tail"), (4, 4, 1, "appended"), (13, 13, 0, "")) == [False, True, True]


def test_a_newline_that_came_after_its_line_was_sent_is_covered_by_the_next_line() -> None:
    fold = Fold()
    repeats = Repeats(fold.streams)
    kept(repeats, (0, 0, 0, "tail"))
    repeats = committed(fold, repeats)
    assert kept(repeats, (5, 4, 0, "next"), (0, 0, 0, "tail"), (5, 4, 0, "next")) == [True, False, False]
    committed(fold, repeats)
    (stream,) = fold.streams.values()
    assert list(stream.landed) == [(0, 9)]


def test_parts_of_one_line_are_different_records() -> None:
    repeats = Repeats({})
    parts: list[Row] = [(0, 0, 0, "aaaa"), (4, 4, 1, "bbbb"), (8, 8, 2, "c"), (10, 10, 0, "next line")]
    assert kept(repeats, *parts) == [True] * 4
    assert kept(repeats, *parts) == [False] * 4


def test_a_hole_is_filled_by_the_lines_that_come_late() -> None:
    repeats = Repeats({})
    assert kept(repeats, (0, 0, 0, "abc"), (20, 10, 0, "later")) == [True, True]
    assert kept(repeats, (4, 4, 0, "later")) == [True]
    assert kept(repeats, (4, 4, 0, "later"), (20, 10, 0, "later")) == [False, False]


def test_lines_that_the_agent_filtered_leave_no_hole() -> None:
    fold = Fold()
    repeats = Repeats(fold.streams)
    kept(repeats, (0, 0, 0, "abc"), (50, 4, 0, "after filtered lines"))
    committed(fold, repeats)
    (stream,) = fold.streams.values()
    assert list(stream.landed) == [(0, 70)]


def test_iso_8859_1_lines_are_measured_in_their_own_bytes() -> None:
    repeats = Repeats({})
    assert kept(repeats, (0, 0, 0, "gr\xfcezi"), (7, 7, 0, "x"), encoding="iso-8859-1") == [True, True]
    (stream,) = repeats.streams()
    assert stream.landed == ((0, 8),)


def test_other_streams_and_partitions_have_positions_of_their_own() -> None:
    repeats = Repeats({})
    assert kept(repeats, *LINES) == [True] * 4
    assert kept(repeats, *LINES, partition=1) == [True] * 4
    assert repeats.keep(0, table(*LINES, stream="t"), np.zeros(4, np.int64)).tolist() == [True] * 4


def test_audit_sums_count_what_lands_and_apart_what_repeats() -> None:
    repeats = Repeats({})
    kept(repeats, *LINES, LINES[2])
    (total,) = repeats.audit()
    messages = [message.encode() for _, _, _, message in LINES]
    expected = sum(event_hash("a", "s", row[0], row[2], message) for row, message in zip(LINES, messages, strict=True))
    assert (total.agent, total.window_start_ms) == ("a", 1_200_000)
    assert (total.count, total.bytes, total.duplicates) == (4, sum(map(len, messages)), 1)
    assert int(total.hash, 16) == expected % (1 << 64)


@pytest.mark.parametrize("missing", NAMES)
def test_rows_without_the_whole_identity_are_other_producers(missing: str) -> None:
    assert has_identity(SCHEMA)
    assert not has_identity(pa.schema([field for field in SCHEMA if field.name != missing]))

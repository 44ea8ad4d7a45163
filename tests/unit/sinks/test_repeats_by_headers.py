"""Records under a user's own schema, and dead letters: their headers say which lines they are (ADR 0053)."""

from dataclasses import replace
from pathlib import Path

import pytest

from headrace.agents.rejected import RejectedRecord
from headrace.audit import WINDOW_MS, event_hash, window_start_ms
from headrace.schemas.client import Registered
from headrace.schemas.framing import frame
from headrace.sinks.registered import Schemas
from headrace.sinks.table.audit_totals import AuditTotal
from tests.unit.sinks.messages import Message, Registry
from tests.unit.sinks.one_table import OneTable

Headers = list[tuple[str, bytes | None]]
SCHEMA = '{"type": "record", "name": "R", "fields": [{"name": "n", "type": "int"}]}'


def schemas() -> Schemas:
    mine = Registered(7, "AVRO", SCHEMA, ())
    return Registry(by_id={7: mine}, subjects={"t-value": mine}).schemas()


def headers(position: int, since: int, end: int, *, stream: str = "s", part: int = 0) -> Headers:
    named = {"agent_id": "a", "stream_id": stream, "position": position, "since": since, "part": part, "end": end}
    return [(name, str(value).encode()) for name, value in named.items()]


def record(offset: int, named: Headers | None) -> Message:
    return Message(offset, frame(7, bytes([2 * (offset % 60)])), own_headers=named)


def line(offset: int, number: int, *, size: int = 9) -> Message:
    """The record of a line of a stream whose lines have equal sizes, newline not included."""
    start = number * (size + 1)
    return record(offset, headers(start, start, start + size))


def offsets(table: OneTable, *messages: Message) -> list[int]:
    landed = table.land(*messages)
    return [row[0] for row in table.rows(landed)] if landed.add else []


def test_repeats_are_dropped_within_a_batch_and_after_a_commit_and_are_in_the_range(tmp_path: Path) -> None:
    table = OneTable(tmp_path, schemas())
    assert offsets(table, line(0, 0), line(1, 1), line(2, 0), line(3, 1), line(4, 2)) == [0, 1, 4]
    assert table.records[-1].ranges[0].duplicates == 2
    assert offsets(table, line(5, 1), line(6, 2), line(7, 3)) == [7]
    assert offsets(table, line(8, 3)) == []
    assert table.records[-1].ranges[0].duplicates == 1


def test_lines_make_one_interval_and_the_audit_counts_none_that_their_agent_has_not_counted(tmp_path: Path) -> None:
    table = OneTable(tmp_path, schemas())
    for batch in range(4):
        table.land(*(line(n, n) for n in range(25 * batch, 25 * batch + 25)))
    ((key, stream),) = table.fold.streams.items()
    assert (key, list(stream.landed)) == ((0, "a", "s"), [(0, 999)])
    assert not table.fold.audit


def counted(offset: int, number: int, timestamp: str) -> Message:
    message = line(offset, number)
    return replace(message, own_headers=[*message.own_headers, ("timestamp", timestamp.encode())])


def test_what_its_agent_counts_counts_by_value_in_the_window_of_its_timestamp_and_a_repeat_beside_it(tmp_path: Path) -> None:
    table, at_ms = OneTable(tmp_path, schemas()), 1_763_900_400_000
    first, second = counted(0, 0, str(at_ms)), counted(1, 1, str(at_ms + WINDOW_MS))
    table.land(first, second, counted(2, 0, str(at_ms)), line(3, 2), counted(4, 3, "-7"), counted(5, 4, "1" * 19))
    hashes = [event_hash("a", "s", 10 * number, 0, each.value()) for number, each in enumerate((first, second))]
    assert table.fold.audit.windows == {
        ("a", window_start_ms(at_ms)): AuditTotal(1, 6, hashes[0], 1),
        ("a", window_start_ms(at_ms + WINDOW_MS)): AuditTotal(1, 6, hashes[1], 0),
    }


def test_a_line_that_was_rejected_and_comes_later_lands(tmp_path: Path) -> None:
    table = OneTable(tmp_path, schemas())
    assert offsets(table, line(0, 0), line(1, 2)) == [0, 1]
    assert offsets(table, line(2, 1)) == [2]
    assert offsets(table, line(3, 1), line(4, 0), line(5, 2)) == []
    (stream,) = table.fold.streams.values()
    assert list(stream.landed) == [(0, 19), (20, 29)]  # the newline between them is nobody's, and does no harm


def test_dead_letters_that_are_repeated_land_once(tmp_path: Path) -> None:
    letter = RejectedRecord("no int", "t", 0, 1_795_424_400_123, "a", "s", 20, 10, 1, 26, "line", b"broken", 0)
    table = OneTable(tmp_path, Schemas(None))
    sent = [Message(n, b"broken", own_headers=letter.headers()) for n in range(2)]  # type: ignore[arg-type]
    other = replace(letter, position=26, since=26, part=2, end=30)
    assert offsets(table, *sent, Message(2, b"more", own_headers=other.headers())) == [0, 2]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "named",
    [
        None,
        [("traceparent", b"00-1")],
        headers(5, 5, 9)[:-1],  # of an agent that does not say where its records end
        headers(9, 5, 9),  # ends before it begins
        headers(4, 5, 9),
        [*headers(5, 5, 9)[:2], ("position", b"-5"), *headers(5, 5, 9)[3:]],
        [*headers(5, 5, 9)[:2], ("position", b"5" * 30), *headers(5, 5, 9)[3:]],
        [*headers(5, 5, 9)[:2], ("position", "٥".encode()), *headers(5, 5, 9)[3:]],
        [*headers(5, 5, 9)[:2], ("position", None), *headers(5, 5, 9)[3:]],
        headers(5, 5, 9, stream="x" * 500),
        headers(5, 5, 9, stream="ß"),
        headers(5, 5, 9, stream=""),
    ],
)
def test_whoever_else_writes_headers_lands_every_record(tmp_path: Path, named: Headers | None) -> None:
    table = OneTable(tmp_path, schemas())
    assert offsets(table, record(0, named), record(1, named), line(2, 3), line(3, 3)) == [0, 1, 2]
    assert len(table.fold.streams) == 1


ENVELOPE_LIKE = (
    '{"type": "record", "name": "R", "fields": ['
    '{"name": "agent_id", "type": "string"}, {"name": "stream_id", "type": "string"}, {"name": "position", "type": "long"},'
    '{"name": "since", "type": "long"}, {"name": "part", "type": "int"}, {"name": "message", "type": "string"},'
    '{"name": "encoding", "type": "string"}]}'
)


def test_a_schema_that_has_the_envelope_s_names_goes_by_its_headers_and_counts_nothing(tmp_path: Path) -> None:
    mine = Registered(7, "AVRO", ENVELOPE_LIKE, ())
    table = OneTable(tmp_path, Registry(by_id={7: mine}, subjects={"t-value": mine}).schemas())
    value = frame(7, b"\2a" + b"\2s" + b"\0" + b"\0" + b"\0" + b"\6abc" + b"\x0autf-8")
    assert offsets(table, *(Message(n, value, own_headers=headers(0, 0, 50)) for n in range(2))) == [0]
    assert not table.fold.audit
    (stream,) = table.fold.streams.values()
    assert list(stream.landed) == [(0, 50)]

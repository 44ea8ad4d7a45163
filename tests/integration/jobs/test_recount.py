"""Landed files, counted again from their rows, say what the records of the table say, and what the agents had sent."""

import json
from datetime import timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.audit import window_start_ms
from headrace.cli import main
from headrace.clock import SystemClock
from headrace.jobs.audit.recount import count_file, merged
from headrace.sinks.content_hash import content_hash
from headrace.sinks.expire import Ages, expire_table
from headrace.sinks.table import names
from headrace.sinks.table.audit_totals import AuditTotal
from headrace.sinks.table.reader import snapshot
from headrace.sinks.table.record import Gap
from tests.landed_tables import TEXT, AuditWriter, Event, TableWriter, announce

T0 = 1_763_900_400_000
EVENTS = [Event(agent, n * 30, T0 + n * 45_000, message=f"GET /{n} 200") for n in range(60) for agent in ("a", "b")]


@pytest.fixture
def root(tmp_path):
    (tmp_path / "landed").mkdir()
    return tmp_path / "landed"


def recounted(root, topic):
    sums = {}
    for file in snapshot(root, topic).files:
        merged(sums, count_file(root, topic, file))
    return sums


def test_the_sums_of_all_files_are_those_of_the_records(root):
    table = TableWriter(root, "logs")
    for first in range(0, 120, 40):
        table.land_events(EVENTS[first : first + 40])
    assert recounted(root, "logs") == snapshot(root, "logs").audit


def test_a_message_counts_in_the_bytes_that_its_line_had(root):
    latin = Event("a", 0, T0, message="caf\u00e9")
    row = {**latin.row(), "encoding": "iso-8859-1"}
    TableWriter(root, "logs").land([row])
    (total,) = recounted(root, "logs").values()
    assert total.bytes == 4


def test_rows_of_no_agent_are_counted_by_window_for_nobody(root):
    rows = [{"_key": b"k", "value": "{}", "_timestamp": T0 + n * 60_000} for n in range(30)]
    TableWriter(root, "orders", TEXT).land(rows)
    assert recounted(root, "orders") == {(None, window_start_ms(T0 + n * 600_000)): AuditTotal(10) for n in range(3)}


AT = T0 + 9_000_000
OF_A = [event for event in EVENTS if event.agent == "a"]
"""Each twenty to the minute and a half; one stream."""


def land(root, events, sent=OF_A, **record):
    TableWriter(root, "logs").land_events(events, **record)
    AuditWriter(root).land(*announce("logs", sent, AT, acked={0: len(sent)}))


def asked(root, capsys, *arguments):
    status = main(["audit", "--root", str(root), "--recount", "--format", "json", *arguments])
    said = capsys.readouterr()
    return status, [json.loads(line) for line in said.out.splitlines()], said.err


def rewrite(root, change, mend=()):
    """Change the rows of the one file in the hour 12, as no one may; `mend` what the log says of it."""
    (path,) = (root / "logs").glob("dt=*/hour=12/*.parquet")
    table = change(pq.read_table(path, partitioning=None))
    pq.write_table(table, path)
    record_path = root / "logs" / names.record_path(1, 0)
    record = json.loads(record_path.read_bytes())
    (file,) = (file for file in record["add"] if file["path"].endswith(path.name))
    file["bytes"] = path.stat().st_size  # else the table cannot be read at all
    if "file" in mend:
        record["ranges"][0]["rows"] += table.num_rows - file["rows"]
        file["rows"], file["content_hash"] = table.num_rows, f"{content_hash(table):016x}"
    if "sums" in mend:
        events = [
            Event("a", row["position"], row["event_time"].timestamp() * 1000 // 1, row["message"])
            for row in pq.read_table(root / "logs", partitioning=None).to_pylist()
        ]
        record["audit"] = [
            {**said, "count": len(them), "hash": f"{sum(event.hash for event in them) % (1 << 64):016x}"}
            for said in record["audit"]
            if (them := [event for event in events if window_start_ms(int(event.event_ms)) == said["window_start_ms"]])
        ]
    record_path.write_text(json.dumps(record))


def without(row):
    return lambda table: table.take([n for n in range(table.num_rows) if n != row])


def with_again(row):
    return lambda table: table.take([*range(table.num_rows), row])


def with_other_bytes(row):
    def change(table):
        messages = table["message"].to_pylist()
        messages[row] = messages[row].replace("GET", "PUT")
        return table.set_column(table.schema.get_field_index("message"), "message", pa.array(messages))

    return change


def in_another_window(row):
    def change(table):
        times = table["event_time"].to_pylist()
        times[row] -= timedelta(minutes=10)
        field = table.schema.field("event_time")
        return table.set_column(table.schema.get_field_index("event_time"), field, pa.array(times, field.type))

    return change


def test_what_has_all_landed_agrees(root, capsys):
    land(root, OF_A)
    status, rows, err = asked(root, capsys)
    assert (status, err) == (0, "")
    assert {(row["state"], row["sent"] == row["recorded"] == row["counted"]) for row in rows} == {("same", True)}
    assert sum(row["counted"] for row in rows) == 60


@pytest.mark.parametrize("mend", [(), ("file",), ("file", "sums")], ids=["nothing", "file", "all"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without(20), "1 event of agent a is missing: stream a-s, positions "),
        (with_again(20), "1 event of agent a is there twice: stream a-s, positions 600 to "),
        (with_other_bytes(20), "events of agent a were altered: stream a-s, positions "),
        (
            in_another_window(20),
            "is in the window of 2025-11-23 12:20:00Z of logs instead: stream a-s, positions 600 to",
        ),
    ],
    ids=["removed", "doubled", "altered", "moved"],
)
def test_a_row_that_was_changed_in_a_file_is_placed_whatever_of_the_log_was_mended(root, capsys, change, said, mend):
    land(root, OF_A)
    rewrite(root, change, mend)
    status, rows, err = asked(root, capsys)
    assert status == 3
    assert said in err
    differ = {row["window_start"] for row in rows if row["state"] == "differs"}
    assert differ <= {"2025-11-23T12:20:00Z", "2025-11-23T12:30:00Z"}
    assert ("it was changed after it landed" in err) is ("file" not in mend)
    assert ("record 0 says that" in err) is ("sums" not in mend)


def test_sums_that_were_changed_in_a_record_are_placed_in_it(root, capsys):
    land(root, OF_A[:30])
    TableWriter(root, "logs").land_events(OF_A[30:])
    path = root / "logs" / names.record_path(1, 1)
    record = json.loads(path.read_bytes())
    record["audit"][0]["count"] -= 1
    path.write_text(json.dumps(record))
    status, _, err = asked(root, capsys)
    assert status == 3
    assert "record 1 says that " in err
    assert "record 0 says" not in err


def test_only_the_windows_that_are_asked_for_are_counted(root, capsys):
    land(root, OF_A)
    rewrite(root, without(20))
    assert asked(root, capsys, "--since", "2025-11-23T12:50")[0] == 3  # it reads that file, which is not as it landed
    status, rows, _ = asked(root, capsys, "--since", "2025-11-23T13:00")
    assert (status, {row["window_start"] for row in rows}) == (0, {"2025-11-23T13:00:00Z"})


def test_for_people_it_shows_what_differs_and_the_sums(root, capsys):
    land(root, OF_A)
    rewrite(root, without(20), ("file", "sums"))
    assert main(["audit", "--root", str(root), "--recount"]) == 3
    out = capsys.readouterr().out
    assert "1 event of agent a is missing" in out
    assert out.splitlines()[-1] == "differs: 59 counted in files, 59 recorded, 60 sent"


DAYS = 24 * 3_600_000


def settled(root):
    """A record a day that tells nothing, for four days."""
    for day in range(1, 5):
        TableWriter(root, "logs").land(
            [], gaps=(Gap(59 + day, 60 + day, "compacted"),), created_ms=1_763_900_000_000 + day * DAYS
        )


def test_days_of_which_the_log_does_not_tell_windows_apart_are_compared_as_days(root, capsys):
    land(root, OF_A)
    settled(root)
    assert snapshot(root, "logs").audit == {}
    status, rows, err = asked(root, capsys)
    assert (status, err) == (0, "")
    assert {(row["state"], row["recorded"], row["sent"] == row["counted"]) for row in rows} == {("same", None, True)}


def test_a_row_that_is_missing_on_such_a_day_is_found_and_placed(root, capsys):
    land(root, OF_A)
    settled(root)
    rewrite(root, without(20), ("file",))
    status, _, err = asked(root, capsys)
    assert status == 3
    assert "of 2025-11-23 the log says another sum than its files hold" in err
    assert "1 event of agent a is missing: stream a-s, positions " in err


def test_windows_of_which_files_have_expired_are_not_compared(root, capsys):
    land(root, OF_A)
    expire_table(root, "logs", Ages(events=T0 + 2_400_000), SystemClock(), dry_run=False)
    status, rows, err = asked(root, capsys)
    assert (status, err) == (0, "")
    assert {row["state"] for row in rows} == {"same", "expired"}
    expire_table(root, "logs", Ages(events=AT), SystemClock(), dry_run=False)
    assert asked(root, capsys)[0] == 4
    assert main(["audit", "--root", str(root), "--recount", "--format", "table"]) == 4
    assert "5 windows of agents are not compared, because files of theirs have expired" in capsys.readouterr().out

"""A landed file that is gone or damaged: the windows that its rows may be of are unknown, and all others are judged as ever."""

import json

import pyarrow as pa
import pytest

from headrace.audit import WINDOW_MS
from headrace.cli import main
from headrace.jobs.audit.auditor import Auditor
from headrace.sinks.table import names
from headrace.sinks.table.reader import snapshot
from headrace.sinks.table.record import AuditSum
from tests.landed_tables import TEXT, AuditWriter, Event, TableWriter, announce

T0 = 1_763_900_400_000  # 12:20
HOUR = 3_600_000
AT = T0 + 9_000_000
EVENTS = [Event("a", n * 30, T0 + n * 45_000) for n in range(120)]  # 12:20 to 13:50
OWN = pa.schema([("id", pa.int64()), ("event_time", pa.timestamp("ms", "UTC")), *list(TEXT)[2:]])


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "landed"
    root.mkdir()
    TableWriter(root, "logs").land_events(EVENTS)
    AuditWriter(root).land(*announce("logs", EVENTS, AT, acked={0: 120}))
    return root


def of_hour(root, hour, topic="logs"):
    (file,) = (root / topic).glob(f"dt=*/hour={hour}/*.parquet")
    return file


def states(root, topic="logs", **time):
    verdict = Auditor(root).judge(topic, now_ms=AT, **time)
    return {window.window_start_ms: window.state for window in verdict.windows}


def asked(root, capsys, *arguments):
    status = main(["audit", "--root", str(root), "--recount", "--format", "json", *arguments])
    said = capsys.readouterr()
    return status, {json.loads(line)["window_start"][11:16]: json.loads(line) for line in said.out.splitlines()}, said.err


def gone(file):
    file.unlink()


def shorter(file):
    file.write_bytes(file.read_bytes()[:-1])


def unreadable(file):
    file.write_bytes(b"~" * file.stat().st_size)


@pytest.mark.parametrize("damage", [gone, shorter])
def test_windows_of_a_file_that_is_gone_or_of_another_size_are_unknown_and_no_others(root, damage, capsys):
    file = of_hour(root, "13")
    damage(file)
    assert states(root) == {
        start: "unknown" if start >= T0 + 40 * 60_000 else "complete" for start in range(T0, T0 + 90 * 60_000, WINDOW_MS)
    }
    assert main(["audit", "--root", str(root), "--wait", "--since", "2025-11-23T12:20", "--until", "2025-11-23T13:00"]) == 0
    capsys.readouterr()
    assert main(["audit", "--root", str(root), "--wait", "--timeout", "0", "--day", "2025-11-23"]) == 4
    told = capsys.readouterr().out
    assert file.name in told
    assert "2025-11-23 13:00–13:50 (5 windows)" in told
    assert "complete: 2025-11-23 12:20–13:00 (4)" in told


@pytest.mark.parametrize(("damage", "status"), [(gone, 4), (shorter, 4), (unreadable, 3)])
def test_a_recount_counts_the_other_files_and_says_which_it_could_not_and_of_when(root, capsys, damage, status):
    file = of_hour(root, "13")
    damage(file)
    done, rows, err = asked(root, capsys)
    assert done == status
    before = [row for at, row in rows.items() if at < "13"]
    assert {(row["state"], row["sent"] == row["recorded"] == row["counted"] > 0) for row in before} == {("same", True)}
    assert {(row["counted"], row["state"]) for at, row in rows.items() if at >= "13"} == {(None, "unknown")}
    assert len(rows) - len(before) == 5
    (told,) = (line for line in err.splitlines() if "are not counted" in line)
    assert str(file) in told
    assert told.endswith("from 2025-11-23 13:00:00Z to 2025-11-23 13:50:00Z are not counted; put it back, and count again")


def test_an_event_that_is_missing_beside_such_a_file_is_told_without_places_that_the_file_may_hold(root, capsys):
    TableWriter(root, "missing").land_events(EVENTS[:52] + EVENTS[53:])
    AuditWriter(root).land(*announce("missing", EVENTS, AT, acked={0: 119}))
    of_hour(root, "13", "missing").unlink()
    done, rows, err = asked(root, capsys, "--topic", "missing")
    assert done == 3
    assert {at: row["state"] for at, row in rows.items() if row["state"] != "same"} == {
        "12:50": "differs",
        **{f"13:{minute}": "unknown" for minute in ("00", "10", "20", "30", "40")},
    }
    assert "missing, 2025-11-23 12:50:00Z: 1 event of agent a is missing\n" in err


def test_what_only_a_file_that_cannot_be_read_knows_of_keeps_the_time_unknown(root):
    rows = [{"_key": b"k", "value": "{}", "_timestamp": T0 + n * 60_000} for n in range(90)]
    TableWriter(root, "orders", TEXT).land(rows)
    assert set(states(root, "orders", until_ms=T0 + HOUR).values()) == {"complete"}
    unreadable(of_hour(root, "12", "orders"))  # its rows are of nobody, so that only they tell which windows there are
    within = {"since_ms": T0 + WINDOW_MS, "until_ms": T0 + 3 * WINDOW_MS}
    assert "unknown" in states(root, "orders", **within).values()
    verdict = Auditor(root).judge("orders", now_ms=AT, **within)
    assert verdict.state == "unknown"
    assert set(states(root, "orders", since_ms=T0 + HOUR, until_ms=T0 + HOUR + 2 * WINDOW_MS).values()) == {"complete"}


def test_rows_that_count_in_other_windows_than_their_event_time_make_all_unknown(root):
    table = TableWriter(root, "own", OWN, says_columns=True)
    later_ms = T0 + 20 * HOUR
    rows = [{"id": n, "event_time": later_ms, "_event_ms": later_ms, "_timestamp": AT} for n in range(len(EVENTS))]
    (record,) = (json.loads(path.read_bytes()) for path in (root / "logs" / names.log_directory(1)).iterdir())
    table.land(rows, audit=tuple(AuditSum(**one) for one in record["audit"]))
    AuditWriter(root).land(*announce("own", EVENTS, AT, acked={0: 120}))
    assert "incomplete" not in states(root, "own").values()
    (file,) = snapshot(root, "own").files
    gone(root / "own" / file.name)
    assert set(states(root, "own").values()) == {"unknown"}


def test_a_recount_names_what_lies_among_its_files_and_is_in_no_log(root, capsys):
    file = of_hour(root, "13")
    (root / "logs/dt=2025-11-23/hour=13/copy.parquet").write_bytes(file.read_bytes())
    done, rows, err = asked(root, capsys)
    assert done == 3
    assert err == "headrace audit: logs: dt=2025-11-23/hour=13/copy.parquet lies among the data, and the log does not name it\n"
    assert {row["state"] for row in rows.values()} == {"same"}
    before = ("--since", "2025-11-23T12:00", "--until", "2025-11-23T13:00")
    assert asked(root, capsys, *before)[::2] == (0, "")


def test_a_job_runs_for_a_day_though_a_file_of_another_cannot_be_read_and_not_for_that_one(root, capsys):
    table = TableWriter(root, "days", says_columns=True)
    table.land_events([Event("a", n * 30, T0 + n * 24 * HOUR) for n in range(3)])
    gone(next((root / "days").glob("dt=2025-11-24/*/*.parquet")))
    run = ["job", "run", "counts", "--root", str(root), "--topic", "days", "--format", "json", "--day"]
    assert main([*run, "2025-11-23"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 1
    assert main([*run, "2025-11-24"]) == 1
    assert "the log names this file, and it is missing" in capsys.readouterr().err


def test_a_job_that_comes_to_bytes_of_no_file_says_which_check_finds_all_of_them(root, capsys):
    file = of_hour(root, "13")
    content = bytearray(file.read_bytes())
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    content[4:footer] = b"\xff" * (footer - 4)
    file.write_bytes(content)
    assert main(["check", str(root)]) == 0
    capsys.readouterr()
    assert main(["job", "run", "errors", "--root", str(root)]) == 1
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith(f"headrace job: errors: dt=2025-11-23/hour=13/{file.name} cannot be read: ")
    assert told.endswith(f"; run: headrace check --deep {root}")
    assert main(["check", "--deep", str(root)]) == 1

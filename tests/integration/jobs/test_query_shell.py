"""The shell of `headrace query` in a terminal of its own, and statements from standard input."""

import os
import re
import signal
import stat
import subprocess
import sys
import time

import pytest

from headrace.sinks.stores.roots import open_root
from headrace.sinks.table.reader import head
from tests.landed_tables import Event, TableWriter
from tests.terminal import PROMPT, Terminal

T0 = 1_763_900_400_000  # 2025-11-23 12:20:00 UTC
ENDLESS = "SELECT sum(a.range * b.range) FROM range(10000000) a, range(10000000) b"


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "landed"
    root.mkdir()
    events = [Event("a", n * 30, T0 + n * 900_000, fields={"status": "200", "user_agent": "x"}) for n in range(12)]
    TableWriter(root, "logs").land_events(events)
    TableWriter(root, "web-events").land_events(events[:3])
    return root


def test_a_shell_answers_goes_on_after_errors_and_remembers(root, tmp_path):
    with Terminal(root, tmp_path / "state", "--memory", "64MiB") as terminal:
        terminal.until(PROMPT)
        terminal.type("SELECT length(repeat('x', 3000000000)) FROM logs;\r")
        terminal.until("the statement needs more than --memory 64MiB: give it more(?s:.*)" + PROMPT)
        terminal.type("SELECT count(*) AS n\rFROM logs;\r")
        terminal.until(r"12\s*\r\n1 row(?s:.*)" + PROMPT)
        terminal.type("SELECT nope FROM logs;\r")
        terminal.until("nope.*not found(?s:.*)" + PROMPT)
        terminal.type("SELECT 1 AS a; SELECT 2 AS b;\r")
        terminal.until(r"(?s:1\s*\r\n1 row.*2\s*\r\n1 row.*)" + PROMPT)
        terminal.type(".tables\r")
        terminal.until("web-events(?s:.*)" + PROMPT)
        terminal.type(".schema web-events\r")
        terminal.until(r"fields\s+MAP\(VARCHAR, VARCHAR\)(?s:.*)" + PROMPT)
        terminal.type(".timing on\r")
        terminal.until(PROMPT)
        terminal.type("SELECT hour, count(*) AS n FROM logs GROUP BY 1 ORDER BY 1;\r")
        terminal.until(r"4 rows(?s:.*)\d\.\d\d s(?s:.*)" + PROMPT)
        terminal.type(".plot\r")
        terminal.until("n by hour(?s:.*)█(?s:.*)" + PROMPT)
        terminal.type(".shema logs\r")
        terminal.until("no such command; did you mean .schema(?s:.*)" + PROMPT)
        terminal.type(".as-of yesterday\r")
        terminal.until("as of 'yesterday': give(?s:.*)" + PROMPT)
        terminal.type(f".output {tmp_path}/a.csv\r")
        terminal.until(PROMPT)
        terminal.type("SELECT 7 AS n;\r")
        terminal.until("written to(?s:.*)" + PROMPT)
        terminal.type(".format csv\r")
        terminal.until(PROMPT)
        terminal.type("SELECT 8 AS n;\r")
        terminal.until(r"n\r\n8\r\n(?s:.*)" + PROMPT)
        terminal.type("exit\r")
        assert terminal.ends() == 0
    assert (tmp_path / "a.csv").read_text() == "n\n7\n"
    history = tmp_path / "state" / "headrace" / "query_history"
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    assert "SELECT nope FROM logs;" in history.read_text()


@pytest.mark.slow
def test_ctrl_c_ends_the_statement_and_not_the_shell_however_the_terminal_is_resized(root, tmp_path):
    with Terminal(root, tmp_path / "state") as terminal:
        terminal.until(PROMPT)
        for columns in (100, 50, 160):
            terminal.resize(columns, 40)
            terminal.type("SELECT repeat('a', 70) AS a, repeat('b', 70) AS b;\r")
            (rule,) = re.findall("─{10,}", terminal.until(r"1 row(?s:.*)" + PROMPT))
            assert min(columns, 143) - 3 < len(rule) <= columns
        terminal.type(f"{ENDLESS};\r")
        terminal.until(r"\d s")  # how far it is
        for columns, rows in ((3, 2), (0, 0), (100, 40)):  # without a size, too, as where nobody says it
            terminal.resize(columns, rows)
            terminal.until(r"\r\d")
        terminal.type("\x03")
        terminal.until("interrupted(?s:.*)" + PROMPT)
        terminal.type("SELECT 41 + 1 AS n;\r")
        terminal.until(r"42\s*\r\n1 row(?s:.*)" + PROMPT)
        terminal.type("SELECT half")
        terminal.until("half")
        terminal.type("\x03")
        terminal.until(PROMPT)
        terminal.type("SELECT 43 AS n;\r")
        terminal.until(r"43\s*\r\n1 row(?s:.*)" + PROMPT)
        terminal.type(".quit\r")
        assert terminal.ends() == 0


def test_a_statement_sees_what_has_landed_since_the_one_before_unless_it_is_asked_as_of_a_record(root, tmp_path):
    with Terminal(root, tmp_path / "state", NO_COLOR="1") as terminal:
        terminal.until(PROMPT)
        terminal.type("SELECT count(*) AS n FROM logs;\r")
        terminal.until(r"12\s*\r\n1 row(?s:.*)" + PROMPT)
        before = head(open_root(str(root)), "logs").seq
        TableWriter(root, "logs").land_events([Event("b", 0, T0)])
        terminal.type("SELECT count(*) AS n FROM logs;\r")
        terminal.until(r"13\s*\r\n1 row(?s:.*)" + PROMPT)
        terminal.type(f".as-of {before}\r")
        terminal.until(PROMPT)
        terminal.type("SELECT count(*) AS n FROM logs;\r")
        terminal.until(r"12\s*\r\n1 row(?s:.*)" + PROMPT)
        terminal.type(".as-of now\r")
        terminal.until(PROMPT)
        terminal.type("SELECT count(*) AS n FROM logs;\r")
        terminal.until(r"13\s*\r\n1 row(?s:.*)" + PROMPT)
        terminal.type("\x04")
        assert terminal.ends() == 0


def test_tab_completes_what_the_tables_have(root):
    from prompt_toolkit.completion import CompleteEvent
    from prompt_toolkit.document import Document

    from headrace.jobs.sql.completion import LandedCatalog, SqlCompleter

    catalog = LandedCatalog(str(root))
    completer = SqlCompleter(catalog, [".tables", ".timing"])

    def completed(before, after=""):
        document = Document(before + after, len(before))
        return [each.text for each in completer.get_completions(document, CompleteEvent())]

    assert completed("SELECT mess", " FROM logs")[0] == "message"
    assert completed("SELECT fields['us", " FROM logs") == ["user_agent']"]
    assert completed("SELECT fields['st", ' FROM "web-events"') == ["status']"]
    assert completed("FROM lo")[0] == "logs"
    assert completed("FROM web")[0] == '"web-events"'
    assert "SELECT" in completed("sel")
    assert "date_trunc(" in completed("SELECT date_tr")
    assert completed(".ti") == [".timing"]
    assert completed(".schema lo") == ["logs"]
    TableWriter(root, "web-events").land_events([Event("b", 0, T0, fields={"zone": "x"})])
    assert completed("SELECT fields['zo", ' FROM "web-events"') == []
    catalog.forget()  # as before each statement
    assert completed("SELECT fields['zo", ' FROM "web-events"') == ["zone']"]
    catalog.close()


def piped(root, text, *arguments):
    command = [sys.executable, "-m", "headrace", "query", "--root", str(root), *arguments]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=120)


@pytest.mark.slow
def test_statements_come_from_standard_input_where_no_terminal_is(root, tmp_path):
    done = piped(root, "SELECT ';' AS a; -- one; two\n\nSELECT count(*) AS n\nFROM logs\n", "--format", "csv")
    assert (done.returncode, done.stdout, done.stderr) == (0, "a\n;\nn\n12\n", "")
    failed = piped(root, "SELECT 1 AS a; SELECT nope; SELECT 2 AS b;", "--format", "csv")
    assert (failed.returncode, failed.stdout, failed.stderr.count("\n")) == (2, "a\n1\n", 1)
    assert "no SQL is given" in piped(root, " -- nothing\n;").stderr
    two = piped(root, "SELECT 1; SELECT 2", "--format", "parquet", "--output", str(tmp_path / "a.parquet"))
    assert (two.returncode, "for the answer of one statement" in two.stderr) == (2, True)


def test_ctrl_c_ends_a_statement_of_the_command_line_soon_and_leaves_nothing(root, tmp_path):
    command = [sys.executable, "-m", "headrace", "query", "--root", str(root), ENDLESS, "--output", str(tmp_path / "a")]
    variables = {**os.environ, "TMPDIR": str(tmp_path / "tmp")}
    (tmp_path / "tmp").mkdir()
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=variables)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "tmp").iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.5)  # now it runs
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert process.stderr.read() == ""
    assert sorted(os.listdir(tmp_path)) == ["landed", "tmp"]
    assert os.listdir(tmp_path / "tmp") == []

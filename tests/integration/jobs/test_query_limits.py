"""`headrace query` as a process: what it may take, what a killed one leaves, and how soon Ctrl-C ends it."""

import os
import re
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from headrace.errors import HeadraceError
from headrace.jobs.sql.limits import bounded, default_memory_bytes, own_folder, slack_bytes
from headrace.jobs.sql.options import Options
from headrace.jobs.sql.session import Session
from headrace.jobs.sql.views import Paths
from tests import forks
from tests.landed_tables import Event, TableWriter

LONG = "SELECT sum(hash(a.range, b.range)) FROM range(1000000) a, range(100000000) b, logs"
"""Days of work without a pause, and no memory."""
LONG_SORT = "SELECT max(s) FROM (SELECT repeat(md5(range::VARCHAR), 4) AS s FROM range(100000000), logs ORDER BY s OFFSET 9)"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("landed")
    TableWriter(root, "logs", says_columns=True).land_events([Event("a", 1, 1_763_900_400_000)])
    return root


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """Where sessions of a test have their folders."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    return folder


@contextmanager
def query(root: Path, temporary: Path, sql: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [*forks.PREFIX, "query", sql, "--root", str(root), "--format", "csv", *arguments]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    with forks.Headrace(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_until(holds: Callable[[], object], process: subprocess.Popen[str], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_running_sql(process: subprocess.Popen[str]) -> bool:
    """Whether DuckDB has worked for a while: the process has used CPU that its start does not take."""
    user, system = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK") > 4


@pytest.mark.slow
def test_a_sort_larger_than_the_memory_spills_and_nothing_is_left(root: Path, temporary: Path) -> None:
    """128 bytes a row of three million rows, six times what DuckDB may take."""
    sql = "SELECT max(s) AS s FROM (SELECT repeat(md5(range::VARCHAR), 4) AS s FROM range(3000000) ORDER BY s OFFSET 9)"
    with query(root, temporary, f"{sql}, logs", "--memory", "64MiB", "--threads", "1") as process:
        spilled: set[Path] = set()

        def has_spilled() -> bool:
            spilled.update(temporary.glob("headrace-query-*/spill/*"))
            return process.poll() is not None

        while not has_spilled():
            time.sleep(0.01)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert out.startswith("s\nffff")
    assert spilled
    assert not list(temporary.iterdir())


def test_more_than_may_be_spilled_is_an_error_in_one_line(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.jobs.sql.limits.spill_bytes", lambda _: 1 << 20)
    sql = "SELECT max(s) FROM (SELECT repeat(md5(range::VARCHAR), 4) AS s FROM range(1000000) ORDER BY s OFFSET 9), logs"
    with Session.open(root, Options(memory_bytes=32 << 20, threads=1)) as session:
        with (
            pytest.raises(HeadraceError, match=r"needs more than --memory 32MiB: give it more") as failed,
            session.ask(sql) as reader,
        ):
            reader.read_all()
        assert "\n" not in str(failed.value)
        with session.ask("SELECT count(*) AS n FROM logs") as reader:
            assert reader.read_all().to_pylist() == [{"n": 1}]


HUGE = [
    "SELECT length(repeat('x', 3000000000))",
    "SELECT repeat(message, 100000) AS s FROM logs, range(2000)",
    "SELECT len(list(range)) FROM range(100000000), logs",
    "SELECT length(string_agg(md5(range::VARCHAR), ',')) FROM range(30000000), logs",
    "SELECT len(list_transform(range(100000000), lambda x: x + 1))",
]


@pytest.mark.parametrize("sql", HUGE, ids=["one value", "rows", "list", "text", "array"])
def test_a_statement_is_held_to_its_memory_whatever_takes_it_and_the_next_one_answers(root: Path, sql: str) -> None:
    with Session.open(root, Options(memory_bytes=64 << 20, threads=2, bounded=True)) as session:
        Path("/proc/self/clear_refs").write_text("5")  # the peak is from now on (proc(5))
        began = taken_bytes("VmRSS")
        with pytest.raises(HeadraceError, match=r"^the statement needs more than --memory 64MiB: give it more") as failed:  # noqa: SIM117
            with session.ask(sql) as reader:
                reader.read_all()
        assert "\n" not in str(failed.value)
        assert taken_bytes("VmHWM") - began < (64 << 20) + slack_bytes(2)
        with session.ask("SELECT count(*) AS n FROM logs") as reader:
            assert reader.read_all().to_pylist() == [{"n": 1}]


def taken_bytes(kind: str) -> int:
    found = re.search(rf"^{kind}:\s*(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) << 10


def test_a_bound_of_the_process_itself_stays_and_ours_goes_with_the_statement() -> None:
    before = resource.getrlimit(resource.RLIMIT_DATA)
    own = taken_bytes("VmData") + (128 << 20)
    try:
        resource.setrlimit(resource.RLIMIT_DATA, (own, before[1]))
        with bounded(1 << 30, 2):
            assert resource.getrlimit(resource.RLIMIT_DATA)[0] == own
        with bounded(-(256 << 20), 2):
            assert resource.getrlimit(resource.RLIMIT_DATA)[0] < own
        assert resource.getrlimit(resource.RLIMIT_DATA)[0] == own
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def test_a_value_that_the_process_may_not_have_ends_the_command_in_one_line(root: Path, temporary: Path) -> None:
    with query(root, temporary, HUGE[0], "--memory", "100MB") as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert err.startswith("headrace query: the statement needs more than --memory 100MB: give it more")
    assert err.count("\n") == 1
    assert not list(temporary.iterdir())


@pytest.mark.slow
def test_what_killed_queries_left_is_removed_by_the_next_and_what_lives_is_not(root: Path, temporary: Path) -> None:
    with query(root, temporary, LONG_SORT, "--memory", "64MiB") as living:
        wait_until(lambda: list(temporary.glob("headrace-query-*/spill/*")), living)
        (its,) = temporary.iterdir()
        with query(root, temporary, LONG_SORT, "--memory", "64MiB") as killed:
            wait_until(lambda: len({file.parent for file in temporary.glob("headrace-query-*/spill/*")}) == 2, killed)
            killed.send_signal(signal.SIGKILL)
            killed.wait()
        assert len(list(temporary.iterdir())) == 2
        with query(root, temporary, "SELECT count(*) AS n FROM logs") as process:
            assert process.communicate(timeout=60) == ("n\n1\n", "")
        assert list(temporary.iterdir()) == [its]
        assert list(its.glob("spill/*"))
        living.send_signal(signal.SIGINT)
        assert living.wait(30) == 130
    assert not list(temporary.iterdir())


def test_a_link_in_place_of_a_folder_is_not_followed(temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    (temporary / "headrace-query-link").symlink_to(tmp_path / "precious")
    (temporary / "headrace-query-file").touch()
    with own_folder() as folder, own_folder() as other:
        assert folder != other
        assert folder.is_dir()
    assert (tmp_path / "precious" / "file").exists()
    assert {path.name for path in temporary.iterdir()} == {"headrace-query-link", "headrace-query-file"}


@pytest.mark.slow
@pytest.mark.parametrize("sql", [LONG, LONG_SORT], ids=["computing", "sorting"])
def test_ctrl_c_ends_a_long_statement_within_seconds_and_leaves_nothing(root: Path, temporary: Path, sql: str) -> None:
    with query(root, temporary, sql, "--memory", "64MiB") as process:
        wait_until(lambda: is_running_sql(process), process)
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "", ""), err
    assert time.monotonic() - started < 10
    assert not list(temporary.iterdir())


@pytest.mark.slow
def test_ctrl_c_ends_a_statement_that_is_within_one_value_in_one_line(root: Path, temporary: Path) -> None:
    """DuckDB looks for an interruption between values."""
    sql = "SELECT levenshtein(repeat('a', 300000), repeat(message, 30000)) FROM logs"
    with query(root, temporary, sql) as process:
        wait_until(lambda: is_running_sql(process), process)
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert err == "headrace query: interrupted; the statement did not stop, and ends with this process\n"
    assert time.monotonic() - started < 10
    assert not list(temporary.iterdir())


@pytest.mark.parametrize("is_first", [True, False])
def test_ctrl_c_between_two_statements_of_duckdb_s_ends_the_users_one(
    root: Path, monkeypatch: pytest.MonkeyPatch, *, is_first: bool
) -> None:
    name_all = Session._name_all

    def interrupted(session: Session, lists: list[Paths]) -> None:
        for ours in (True, False):
            if ours is is_first:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.2)  # the main thread looks for signals every 0.1 s, and finds the connection idle
            else:
                name_all(session, lists)

    with Session.open(root) as session:
        monkeypatch.setattr(Session, "_name_all", interrupted)
        with pytest.raises(KeyboardInterrupt), session.ask(LONG) as reader:
            reader.read_all()
        monkeypatch.undo()
        with session.ask("SELECT count(*) AS n FROM logs") as reader:
            assert reader.read_all().to_pylist() == [{"n": 1}]


@pytest.mark.slow
@pytest.mark.parametrize("pause_s", [0.01, 0.1])
def test_a_second_ctrl_c_ends_it_at_once(root: Path, temporary: Path, pause_s: float) -> None:
    with query(root, temporary, LONG_SORT, "--memory", "64MiB") as process:
        wait_until(lambda: is_running_sql(process), process)
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        time.sleep(pause_s)  # what it does between the two is what is tried
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode in (130, -signal.SIGINT)  # both are 130 to a shell
    assert (out, err) == ("", "")
    assert time.monotonic() - started < 10


def test_half_of_what_the_control_group_lets_have_is_the_default(tmp_path: Path) -> None:
    of_machine = default_memory_bytes(tmp_path)
    (tmp_path / "memory.max").write_text("max\n")
    assert default_memory_bytes(tmp_path) == of_machine
    (tmp_path / "memory.max").write_text(f"{64 << 20}\n")
    assert default_memory_bytes(tmp_path) == 32 << 20

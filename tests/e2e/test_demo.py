"""`headrace demo` on files of every kind: all lines land once, byte for byte, and wrong input starts nothing."""

import json
import os
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from tests import forks
from tests.landed_rows import expected_lines, lines_of, repeated_identities, rows

KINDS = {
    "access.log": b'203.0.113.9 - - [04/Mar/2026:10:00:01 +0000] "GET /a?b=c HTTP/1.1" 200 512 "-" "curl/8"\n' * 3
    + b'203.0.113.9 - bob [04/Mar/2026:11:00:01 +0200] "POST /x HTTP/1.1" 503 - "-" "odd \\"agent\\""\n',
    "apache_error.log": b"[Sun Dec 04 04:47:44 2005] [notice] workerEnv.init() ok /etc/httpd/conf/workers2.properties\n",
    "syslog": b"Jun 14 15:16:01 combo sshd(pam_unix)[19939]: authentication failure; uid=0\nFeb 29 00:00:00 h cron: leap\n",
    "hdfs.log": b"081109 203615 148 INFO dfs.DataNode$PacketResponder: PacketResponder 1 for block blk_388 terminating\n",
    "spark.log": b"17/06/09 20:10:40 INFO executor.CoarseGrainedExecutorBackend: Registered signal handlers for [TERM, HUP]\n",
    "windows.log": "2016-09-28 04:30:30, Info    CBS    Überprüfung läuft\r\n\r\n2016-09-28 04:30:31, Info  ok\r\n".encode(),
    "latin1.log": b"caf\xe9 one\nplain two\n\xff\xfe\x00three\n",
    "events.json": b'{"time": "2026-03-04T10:00:00Z", "level": "info", "n": 1}\n{"broken": \n[1, 2]\n"just a string"\n',
    "no-newline.log": b"first\nlast without newline",
    "blank.log": b"\n\n\nx\n\n",
    "nul.log": b"a\x00b\x00\n\x00\x00\x00\nend\n",
    "empty.log": b"",
    "long.log": b"short\n" + b"A" * 1_000_000 + b"\n" + "é".encode() * 400_000 + b"\n" + b"\xe9" * 600_000 + b"\ntail\n",
}


def demo(*arguments: str | Path, timeout_s: float = 240, **variables: str) -> "subprocess.CompletedProcess[str]":
    command = [*forks.PREFIX, "demo", *map(str, arguments)]
    environment = {**os.environ, **variables}
    return forks.run(command, capture_output=True, text=True, timeout=timeout_s, env=environment, check=False)


def outcome(done: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    assert done.returncode == 0, done.stdout + done.stderr
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Path], dict[str, Any]]:
    """Every kind of file, shipped once: the data directory, the files by name, the result."""
    folder = tmp_path_factory.mktemp("kinds")
    files = {name: folder / name for name in KINDS}
    for name, content in KINDS.items():
        files[name].write_bytes(content)
    data = folder / "data"
    return data, files, outcome(demo(*files.values(), "--data", data, "--json"))


def test_every_line_lands_and_the_audit_is_complete(shipped: tuple[Path, dict[str, Path], dict[str, Any]]) -> None:
    _, _, result = shipped
    lines = sum(len(expected_lines(content)) for content in KINDS.values())
    assert result["lines"] == result["landed"] == lines
    assert (result["quarantined"], result["duplicates"], result["audit"]) == (0, 0, "complete")


def test_every_line_is_found_byte_for_byte(shipped: tuple[Path, dict[str, Path], dict[str, Any]]) -> None:
    _, files, result = shipped
    landed = rows(result["files"])
    assert repeated_identities(landed) == []
    assert lines_of(landed) == {str(files[name]): expected_lines(content) for name, content in KINDS.items() if content}
    assert {row["encoding"] for row in landed} == {"utf-8", "iso-8859-1"}
    assert {row["service"] for row in landed} == {Path(name).stem for name, content in KINDS.items() if content}


def test_no_part_is_longer_than_the_limit(shipped: tuple[Path, dict[str, Path], dict[str, Any]]) -> None:
    _, _, result = shipped
    assert max(len(str(row["message"]).encode()) for row in rows(result["files"])) <= 512 * 1024


def test_all_files_are_in_place_and_staging_is_empty(shipped: tuple[Path, dict[str, Path], dict[str, Any]]) -> None:
    data, _, result = shipped
    assert all(Path(file).is_absolute() and "_headrace" not in file and Path(file).exists() for file in result["files"])
    assert not [file for file in data.glob("landed/*/_headrace/staging/**/*") if file.is_file()]
    in_place = {str(file) for file in (data / "landed" / "logs").glob("dt=*/hour=*/*.parquet")}
    assert in_place == set(result["files"])


@pytest.mark.slow
def test_a_second_run_ships_nothing_twice(shipped: tuple[Path, dict[str, Path], dict[str, Any]]) -> None:
    data, files, first = shipped
    again = outcome(demo(*files.values(), "--data", data, "--json"))
    assert (again["lines"], again["landed"], again["audit"]) == (first["lines"], first["landed"], "complete")
    assert repeated_identities(rows(again["files"])) == []
    assert len(rows(again["files"])) == len(rows(first["files"]))


def test_query_and_check_work_on_what_it_left(shipped: tuple[Path, dict[str, Path], dict[str, Any]]) -> None:
    data, _, result = shipped
    sql = "SELECT count(*) AS n FROM logs WHERE part = 0"
    command = [*forks.PREFIX, "query", sql, "--data", str(data), "--format", "json"]
    assert json.loads(forks.run(command, capture_output=True, text=True, check=True).stdout) == {"n": result["lines"]}
    forks.run([*forks.PREFIX, "check", str(data / "landed")], check=True)


@pytest.mark.slow
def test_without_files_it_ships_made_up_events_and_shows_them() -> None:
    done = demo("--json")
    result = outcome(done)
    assert result["lines"] == result["landed"] >= 20_000
    assert f"{result['lines']:,} rows" in done.stderr
    assert "headrace query" in done.stdout
    assert "dt=" in done.stdout


@pytest.mark.slow
def test_an_empty_file_is_no_lines_and_status_0(tmp_path: Path) -> None:
    (tmp_path / "empty.log").touch()
    result = outcome(demo(tmp_path / "empty.log", "--data", tmp_path / "data", "--json"))
    assert (result["lines"], result["landed"], result["files"], result["audit"]) == (0, 0, [], "complete")


@pytest.mark.slow
def test_a_run_counts_the_file_that_is_there_now(tmp_path: Path) -> None:
    file, rotated = tmp_path / "a.log", tmp_path / "a.log.1"

    def again(*files: Path) -> tuple[int, int]:
        result = outcome(demo(*files, "--data", tmp_path / "data", "--json"))
        return result["lines"], result["landed"]

    file.write_bytes(b"one\ntwo")
    assert again(file) == (2, 2)
    with file.open("ab") as more:
        more.write(b" and more\nthree\n")
    file.rename(rotated)
    file.write_bytes(b"four\n")
    assert again(rotated, file) == (4, 4)
    file.write_bytes(b"")
    assert again(file) == (0, 0)


@pytest.mark.slow
def test_lines_that_come_while_it_runs_are_not_counted(tmp_path: Path) -> None:
    file = tmp_path / "busy.log"
    stop = threading.Event()

    def write() -> None:
        with file.open("ab", buffering=0) as log:
            while not stop.wait(0.001):
                log.write(b"a line that goes on\n")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        while not file.exists():
            stop.wait(0.01)
        result = outcome(demo(file, "--data", tmp_path / "data", "--json"))
    finally:
        stop.set()
        writer.join()
    assert result["lines"] == result["landed"] > 0


def test_files_of_any_name_are_shipped_once_however_often_they_are_named_and_whatever_a_users_own_parts_are_told(
    tmp_path: Path,
) -> None:
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff.log")
    Path(odd).write_bytes(b"one\n")
    (tmp_path / "a [1]*.log").write_bytes(b"two\nthree\n")
    (tmp_path / "link.log").symlink_to(tmp_path / "a [1]*.log")
    names = [odd, tmp_path / "a [1]*.log", tmp_path / "link.log", tmp_path / "a [1]*.log"]
    result = outcome(demo(*names, "--data", tmp_path / "data", "--json", HEADRACE__INPUTS__0__TOPIC="mine"))
    assert (result["lines"], result["landed"]) == (3, 3)


@pytest.mark.parametrize("given", ["absent.log", ".", "fifo", "unreadable-data"])
def test_wrong_input_is_status_2_and_starts_nothing(tmp_path: Path, given: str) -> None:
    (tmp_path / "good.log").write_bytes(b"x\n")
    os.mkfifo(tmp_path / "fifo")
    data = tmp_path / "data"
    files = [tmp_path / "good.log", tmp_path / given]
    if given == "unreadable-data":
        data = tmp_path / "good.log" / "data"
        files = files[:1]
    done = demo(*files, "--data", data, "--json")
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
    assert not data.exists()

"""`headrace broker check` on the log directory of a real broker: exit status, rows, and what keeps it from looking."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests import forks
from tests.compat.clients import CLIENTS
from tests.processes import Part, broker, free_port


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """The log directory of a broker that has written and stopped."""
    with broker(tmp_path, num_partitions=2) as part:
        CLIENTS[0].produce(f"127.0.0.1:{part.ports['kafka']}", "t", [b"%d" % number for number in range(500)])
    return tmp_path / "broker"


def check(directory: Path, *options: str) -> tuple[int, str, str]:
    command = [*forks.PREFIX, "broker", "check", str(directory), *options]
    done = forks.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


def rows(said: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in said.splitlines()]


def snapshot(directory: Path) -> dict[str, tuple[bytes, int]]:
    return {str(file): (file.read_bytes(), file.stat().st_mtime_ns) for file in directory.rglob("*") if file.is_file()}


def test_a_clean_directory_is_exit_0_a_row_a_partition_and_untouched(stopped: Path) -> None:
    before = snapshot(stopped)
    status, said, _ = check(stopped, "--deep", "--format", "json")
    assert (status, snapshot(stopped)) == (0, before)
    directory, first, second = rows(said)
    assert (directory["topic"], directory["state"], directory["faults"]) == (None, "clean", [])
    assert [(row["topic"], row["partition"], row["state"]) for row in (first, second)] == [("t", 0, "clean"), ("t", 1, "clean")]
    assert first["records"] + second["records"] == first["log_end_offset"] + second["log_end_offset"] == 500
    status, said, _ = check(stopped)
    assert status == 0
    assert "clean: 0 faults; 2 partitions" in said


def test_a_damaged_byte_is_exit_1_with_its_file_and_the_byte_of_its_batch(stopped: Path) -> None:
    file = next(file for file in sorted(stopped.glob("t-*/*.log")) if file.stat().st_size)
    content = bytearray(file.read_bytes())
    content[80] ^= 1
    file.write_bytes(content)
    status, said, _ = check(stopped, "--format", "json")
    assert status == 1
    (damaged,) = (row for row in rows(said) if row["state"] == "damaged")
    assert (damaged["faults"][0]["file"], damaged["faults"][0]["byte"]) == (f"{file.parent.name}/{file.name}", 0)
    assert "CRC" in damaged["faults"][0]["what"]


def test_a_pipe_in_the_place_of_a_segment_is_a_fault_and_nobody_waits_for_it(stopped: Path) -> None:
    pipe = stopped / "t-0" / "00000000000000000000.log"
    pipe.unlink()
    os.mkfifo(pipe)
    status, said, _ = check(stopped, "--format", "json")
    assert status == 1
    _, first, second = rows(said)
    assert first["faults"][0] == {"file": f"t-0/{pipe.name}", "byte": None, "what": "cannot be read: not a regular file"}
    assert (second["state"], second["records"]) == ("clean", second["log_end_offset"])


def test_what_a_broker_with_security_on_keeps_beside_its_logs_is_known(tmp_path: Path) -> None:
    part = broker(tmp_path, security=True, listeners=f"SASL_SSL://127.0.0.1:{free_port()}").start()
    part.kill()  # so that the store's own files are there too
    assert {"security", "coordination.db-wal"} <= {file.name for file in (tmp_path / "broker").iterdir()}
    status, said, _ = check(tmp_path / "broker", "--format", "json")
    assert (status, [note["file"] for row in rows(said) for note in row["notes"]]) == (0, [""]), "no clean shutdown"


def test_after_kill_9_there_are_no_faults(tmp_path: Path) -> None:
    part = broker(tmp_path).start()
    CLIENTS[0].produce(f"127.0.0.1:{part.ports['kafka']}", "t", [b"%d" % number for number in range(500)])
    part.kill()
    status, said, _ = check(tmp_path / "broker", "--format", "json")
    assert (status, rows(said)[0]["state"]) == (0, "leftovers")


def test_a_broker_that_runs_is_exit_2_and_so_is_what_is_no_log_directory(tmp_path: Path) -> None:
    with broker(tmp_path):
        status, said, error = check(tmp_path / "broker")
        assert (status, said) == (2, "")
        assert "a broker is running on it" in error
    for wrong in (tmp_path / "nothing", tmp_path, tmp_path / "etc" / "broker.yaml"):
        status, _, error = check(wrong)
        assert (status, len(error.splitlines())) == (2, 1), error


def test_without_check_a_configuration_is_still_asked_for(tmp_path: Path) -> None:
    done = forks.run([*forks.PREFIX, "broker"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "--config" in done.stderr


def test_many_partitions_are_looked_at_by_several_processes(tmp_path: Path) -> None:
    with broker(tmp_path, num_partitions=4) as part:
        write_megabytes(part, 80)
    status, said, _ = check(tmp_path / "broker", "--format", "json")
    assert status == 0
    assert sum(row["bytes"] for row in rows(said)) > 64 << 20


def write_megabytes(part: Part, count: int) -> None:
    CLIENTS[0].produce(f"127.0.0.1:{part.ports['kafka']}", "t", [bytes(100_000)] * (count * 10))

"""`headrace compact` and `headrace expire`, killed with -9 at any moment while others read: rows and their proof stay."""

import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from headrace.audit import HASH_MODULUS
from headrace.cli import main
from headrace.clock import SystemClock
from headrace.sinks.attempt import Attempt
from headrace.sinks.check import check_table
from headrace.sinks.config import Output
from headrace.sinks.registered import Schemas
from headrace.sinks.stores.local import LocalStore
from headrace.sinks.table import names
from headrace.sinks.table.commit import commit, read_head
from headrace.sinks.table.reader import open_live, snapshot
from headrace.sinks.table.store import carry_out
from tests.unit.sinks.messages import Message

HOUR_MS = 3_600_000
START_MS = 1_790_000_000_000 // HOUR_MS * HOUR_MS
HOURS, COMMITS, ROWS = 3, 5, 40
KILLS = 12
_FORKING = """
import json, os, signal, sys, time
import pyarrow.parquet
from headrace.cli import main
import headrace.sinks.compaction.compact, headrace.sinks.expire, headrace.sinks.formats.parquet
for line in sys.stdin:
    arguments, kill_after_s = json.loads(line)
    began_s = time.monotonic()
    if not (child := os.fork()):
        os._exit(main(arguments))
    if kill_after_s is not None:
        time.sleep(kill_after_s)
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    print("ended", json.dumps([status, time.monotonic() - began_s]), flush=True)
"""


class Commands:
    """`headrace` commands, each a process of its own that begins with its modules loaded: few moments are its start's."""

    def __init__(self) -> None:
        self._parent = subprocess.Popen(
            [sys.executable, "-c", _FORKING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, *arguments: str, kill_after_s: float | None = None) -> float:
        """Run one to its end, or kill it; how long it took."""
        assert self._parent.stdin is not None
        self._parent.stdin.write(json.dumps([arguments, kill_after_s]) + "\n")
        self._parent.stdin.flush()
        status, took_s = json.loads(self._ended())
        assert kill_after_s is not None or status == 0
        return float(took_s)

    def _ended(self) -> str:
        assert self._parent.stdout is not None
        while not (line := self._parent.stdout.readline()).startswith("ended "):  # commands print their answers before it
            assert line, "no command can be started any more"
        return line.removeprefix("ended ")

    def close(self) -> None:
        self._parent.kill()
        self._parent.wait()


@pytest.fixture(scope="module")
def commands() -> Iterator[Commands]:
    started = Commands()
    yield started
    started.close()


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of three hours with five files each."""
    root = tmp_path_factory.mktemp("landed")
    clock, store = SystemClock(), LocalStore(root / "t")
    for number in range(COMMITS):
        fold = carry_out(read_head(), store)
        attempt = Attempt("t", store, fold, Output(), name=str(uuid.uuid4()), started_ms=clock.monotonic_ms())
        attempt.start(0, 0, "id")
        first = number * HOURS * ROWS
        messages = [Message(first + n, b'{"n": %d}' % n, START_MS + n % HOURS * HOUR_MS) for n in range(HOURS * ROWS)]
        attempt.take(0, messages, Schemas(None), why=lambda _, end: (end, "control"), now_ms=clock.monotonic_ms())
        carry_out(commit(attempt.close(clock.wall_ms()), fold, started_ms=attempt.started_ms), store, clock)
    return root


def rows(root: Path) -> tuple[list[tuple[int, str]], int]:
    """Offsets and values as a reader of the log finds them, and the sum of the log's content hashes."""
    found: list[tuple[int, str]] = []
    files = snapshot(root, "t").files
    for file in files:
        with open_live(str(root), "t", file.name) as data:
            read = pq.read_table(data, columns=["_offset", "value"])
        found += zip(read["_offset"].to_pylist(), read["value"].to_pylist(), strict=True)
    return sorted(found), sum(int(file.content_hash, 16) for file in files) % HASH_MODULUS


@dataclass
class Readers:
    """Read the table again and again; `wrong` is what they saw that must not be."""

    root: Path
    wrong: list[Any] = field(default_factory=list)
    reads: int = 0

    def __enter__(self) -> "Readers":
        self._expected, self._stop = rows(self.root), threading.Event()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _read(self) -> None:
        while not self._stop.is_set():
            try:
                if (found := rows(self.root)) != self._expected:
                    self.wrong.append(found)
                if twice := self._repeated():
                    self.wrong.append(twice)
            except Exception as error:  # noqa: BLE001 - whatever it is, the test fails with it
                self.wrong.append(error)
            self.reads += 1

    def _repeated(self) -> set[int]:
        """Rows that whoever reads the directories alone sees more than once."""
        seen: set[int] = set()
        twice: set[int] = set()
        for path in (self.root / "t").glob("dt=*/hour=*/*.parquet"):
            try:
                offsets = set(pq.ParquetFile(path).read(["_offset"])["_offset"].to_pylist())
            except FileNotFoundError:
                continue  # it was moved meanwhile
            twice |= seen & offsets
            seen |= offsets
        return twice


def is_swept(root: Path) -> None:
    """A week later nothing is left of those that were killed."""
    old_s = time.time() - 8 * 24 * 3600
    for path in (root / "t" / names.HIDDEN).rglob("*"):
        if path.is_file():
            os.utime(path, (old_s, old_s))
    assert main(["check", "--repair", str(root)]) == 0
    left = {str(path.relative_to(root / "t")) for path in (root / "t").rglob("*.*") if path.is_file()}
    assert {path for path in left if path.endswith(".parquet")} == {file.name for file in snapshot(root, "t").files}
    assert not [path for path in left if path.endswith(".tmp")]


def test_a_compaction_killed_at_any_moment_is_done_or_not_and_readers_see_every_row_once(
    landed: Path, commands: Commands, tmp_path: Path
) -> None:
    expected = rows(landed)
    shutil.copytree(landed, tmp_path / "whole")
    whole_s = commands.run("compact", "t", "--root", str(tmp_path / "whole"))
    rng = random.Random(29)
    root = tmp_path / "killed"
    for _ in range(2):
        shutil.copytree(landed, root)
        with Readers(root) as readers:
            for _ in range(KILLS // 2):
                commands.run("compact", "t", "--root", str(root), kill_after_s=rng.uniform(0, whole_s))
                assert check_table(str(root), "t", deep=True).broken == []
        assert (readers.wrong, readers.reads > 0) == ([], True)
        assert rows(root) == expected
        commands.run("compact", "t", "--root", str(root))
        assert (len(snapshot(root, "t").files), rows(root)) == (HOURS, expected)
        is_swept(root)
        assert (check_table(str(root), "t", deep=True).broken, rows(root)) == ([], expected)
        shutil.rmtree(root)


def test_an_expiry_killed_at_any_moment_takes_out_all_that_is_old_or_nothing(
    landed: Path, commands: Commands, tmp_path: Path
) -> None:
    every, _ = rows(landed)
    young = [(offset, value) for offset, value in every if offset % HOURS]
    old_s = int(time.time()) - START_MS // 1000 - 1800  # the first hour alone is older
    rng = random.Random(31)
    for number in range(KILLS // 2):
        root = tmp_path / str(number)
        shutil.copytree(landed, root)
        arguments = ("expire", "t", "--root", str(root), "--older-than", f"{old_s}s")
        commands.run(*arguments, kill_after_s=rng.uniform(0, 0.1))
        assert check_table(str(root), "t", deep=True).broken == []
        assert rows(root)[0] in (every, young)
        commands.run(*arguments)
        assert rows(root)[0] == young
        is_swept(root)

"""kill -9 of agent, broker and loader at random moments, while the audit is asked again and again.

HEADRACE_KILLS=60 kills so many times (6 by default), HEADRACE_KILLS_SEED another history. All parts go by one wall clock, which
the test moves on by minutes (tests/moved_clock), so that windows end while lines are written, rotated and packed.

    incomplete is never said, since nothing is lost
    complete is said only when each line that was written in time has landed, so that what lands later was written late
    in the end all is complete, each line is one row, and a recount agrees
"""

import gzip
import itertools
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

from headrace.audit import WINDOW_MS, window_start_ms
from headrace.cli import main
from headrace.jobs.audit.announced import LATENESS_MS
from headrace.jobs.audit.gate import Gate
from headrace.jobs.audit.judged import WindowVerdict
from tests.integration.sinks.pipeline import Pipeline
from tests.landed_rows import repeated_identities, rows
from tests.processes import Part

KILLS: Final = int(os.environ.get("HEADRACE_KILLS", "6"))
SEED: Final = int(os.environ.get("HEADRACE_KILLS_SEED", "5"))
TOPIC: Final = "app"
PATIENCE_S: Final = 15
"""So long a kill waits for another window to be complete, where it waits."""
Landed = Mapping[str, list[dict[str, object]]]
"""Rows by file."""
MOVED_CLOCK: Final = Path(__file__).parents[1] / "moved_clock"


class MovedClock:
    """The wall clock of all parts: the host's, and what it was moved on by."""

    def __init__(self, directory: Path) -> None:
        self._file, self._next, self._ahead_s = directory / "clock", directory / "clock.next", 0
        self.move(0)

    def move(self, by_s: int) -> None:
        self._ahead_s += by_s
        self._next.write_text(str(self._ahead_s))
        self._next.replace(self._file)

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self._ahead_s * 1000

    def variables(self) -> dict[str, str]:
        return {"MOVED_CLOCK": str(self._file), "PYTHONPATH": f"{MOVED_CLOCK}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}


@dataclass(slots=True)
class Written:
    """A line: of which window it is, and by when it was there (ms)."""

    start_ms: int
    by_ms: int

    @property
    def is_in_time(self) -> bool:
        return self.by_ms <= self.start_ms + WINDOW_MS + LATENESS_MS


class Writing(threading.Thread):
    """An application that writes a log, whose files are renamed, and packed one rotation later."""

    def __init__(self, rng: random.Random, clock: MovedClock, directory: Path) -> None:
        super().__init__(daemon=True)
        self._rng, self._clock, self._directory = rng, clock, directory
        self._log, self._rotations = directory / "web.log", itertools.count(1)
        self.lines: dict[bytes, Written] = {}
        self.stop = threading.Event()
        self.error: BaseException | None = None
        directory.mkdir()
        self._log.touch()

    def run(self) -> None:
        try:
            while not self.stop.wait(self._rng.choice((0.005, 0.02, 0.02, 0.1, 1.5))):  # agents speak when they have a rest
                self._write(self._rng.choice((1, 3, 20)))
                if self._rng.random() < 0.03:
                    self._rotate()
        except BaseException as error:
            self.error = error
            raise

    def _write(self, count: int) -> None:
        at_ms = [self._clock.now_ms() - self._late_ms() for _ in range(count)]
        first = len(self.lines)
        texts = [f"{_iso(at)} line {number} of a service".encode() for number, at in enumerate(at_ms, first)]
        with self._log.open("ab") as file:
            file.write(b"".join(text + b"\n" for text in texts))
        by_ms = self._clock.now_ms()
        os.utime(self._log, (by_ms / 1000, by_ms / 1000))
        self.lines |= {text: Written(window_start_ms(at), by_ms) for text, at in zip(texts, at_ms, strict=True)}

    def _late_ms(self) -> int:
        return self._rng.choice((0, 0, 0, 0, 0, 60_000, 1_000_000)) if self._rng.random() < 0.2 else 0

    def _rotate(self) -> None:
        last = next(self._rotations)
        self._log.rename(f"{self._log}.{last}")
        self._log.touch()
        before = Path(f"{self._log}.{last - 1}")
        if before.exists() and self._rng.random() < 0.5:
            packed = self._directory.parent / "packed.gz"
            packed.write_bytes(gzip.compress(before.read_bytes()))
            os.utime(packed, (self._clock.now_ms() / 1000,) * 2)
            packed.rename(f"{before}.gz")
            before.unlink()


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")


@dataclass(frozen=True, slots=True)
class Said:
    """That a window was complete, and by which files."""

    start_ms: int
    files: frozenset[str]


class Asking:
    """Asks the gate, which goes on from what it has heard, and now and then one that begins anew."""

    def __init__(self, rng: random.Random, clock: MovedClock, root: Path) -> None:
        self._rng, self._clock, self._root = rng, clock, root
        self._gate: Gate | None = None
        self._rows: dict[int, int] = {}
        """Of windows that are complete now."""
        self.said: list[Said] = []
        self.windows: Sequence[WindowVerdict] = ()

    def ask(self) -> None:
        """What is said now, by what has landed."""
        if self._gate is None or self._rng.random() < 0.1:
            self._gate = Gate(self._root, [TOPIC])
        self._gate.look()
        (verdict,) = self._gate.judge(now_ms=self._clock.now_ms()).topics
        self.windows = verdict.windows
        table = self._gate.auditor.table(TOPIC)
        assert verdict.state != "incomplete", verdict.reasons
        for window in verdict.windows:
            assert window.state != "incomplete", window
            landed = sum(row.landed for row in window.rows)
            if window.state == "complete" and self._rows.get(window.window_start_ms) != landed:
                assert table is not None
                self.said.append(Said(window.window_start_ms, frozenset(file.name for file in table.files)))
            self._rows[window.window_start_ms] = landed if window.state == "complete" else -1

    def ask_for(self, seconds: float) -> None:
        """Again and again, while time passes faster than it does."""
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            if self._root.exists():
                self.ask()
            self._clock.move(self._rng.choice((0, 5, 30, 120)))
            time.sleep(0.1)

    def are_complete(self, landed: int) -> bool:
        """Whether all windows are, with so many rows."""
        rows = [row for window in self.windows for row in window.rows]
        return {window.state for window in self.windows} == {"complete"} and sum(row.landed for row in rows) == landed


@pytest.mark.slow
@pytest.mark.timeout(240 + 20 * KILLS)
def test_incomplete_is_never_said_nor_complete_too_soon_whoever_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rng, clock = random.Random(SEED), MovedClock(tmp_path)
    for name, value in clock.variables().items():
        monkeypatch.setenv(name, value)
    with Pipeline(tmp_path) as pipeline:
        pipeline.create_topic(TOPIC, 2)
        writing, asking = Writing(random.Random(SEED + 1), clock, tmp_path / "written"), Asking(rng, clock, pipeline.root)
        beside = tmp_path / "beside.log"
        agent = agent_of(pipeline, {TOPIC: str(tmp_path / "written" / "web.log*"), "beside": str(beside)})
        loader = pipeline.loader(rotate={"age": "200ms"})
        for part in (agent, loader):
            part.start()
        writing.start()
        kill_again_and_again([agent, loader, pipeline.broker], rng, asking)
        writing.stop.set()
        writing.join()
        assert writing.error is None
        while_killed = len(asking.said)
        deadline_s = time.monotonic() + 120
        while not asking.are_complete(len(writing.lines)) and time.monotonic() < deadline_s:
            with beside.open("a") as file:
                file.write("so that it soon speaks again\n")
            asking.ask_for(0.5)
        assert asking.are_complete(len(writing.lines)), [window for window in asking.windows if window.state != "complete"]
        assert agent.stop() == 0
        assert loader.stop() == 0
        pipeline.load_once()
        pipeline.assert_sound(was_killed=True)
    for arguments in (("--wait", "--timeout", "0"), ("--recount",)):
        capsys.readouterr()
        assert main(["audit", "--root", str(pipeline.root), "--topic", TOPIC, *arguments]) == 0, capsys.readouterr()
    table = pipeline.root / TOPIC
    landed = {str(file.relative_to(table)): rows([file]) for file in table.glob("dt=*/hour=*/*.parquet")}
    check_each_line_is_one_row(landed, writing.lines)
    check_nothing_came_that_was_not_late(landed, writing.lines, asking.said)
    print(
        f"{KILLS} kills: {len(writing.lines)} lines, {len(landed)} files, {while_killed} of {len(asking.said)} times complete"
    )


def agent_of(pipeline: Pipeline, inputs: Mapping[str, str]) -> Part:
    """An agent that tails a pattern into each topic."""
    config = {
        "agent": {"state_dir": str(pipeline.directory / "agent")},
        "kafka": {"bootstrap.servers": pipeline.bootstrap},
        "registry": pipeline.registry_url,
        "inputs": [{"tail": [pattern], "topic": topic, "name": topic} for topic, pattern in inputs.items()],
    }
    part = Part("agent", pipeline.directory, config)
    pipeline.parts.append(part)
    return part


def kill_again_and_again(parts: Sequence[Part], rng: random.Random, asking: Asking) -> None:
    """Each is started again at once or a little later, and may be killed while it starts; now and then all get on."""
    for _ in range(KILLS):
        part = rng.choice(parts)
        said, deadline_s = len(asking.said), time.monotonic() + PATIENCE_S
        while rng.random() < 0.8 and len(asking.said) == said and time.monotonic() < deadline_s:
            asking.ask_for(0.5)
        asking.ask_for(rng.choice((0.1, 0.6, 2)) * rng.random())
        assert part.process is not None
        assert part.process.poll() is None, part.log_tail()
        part.kill()
        asking.ask_for(rng.choice((0, 0, 0.8)))
        part.start(wait=False)


def check_each_line_is_one_row(landed: Landed, lines: Mapping[bytes, Written]) -> None:
    every = [row for found in landed.values() for row in found]
    assert repeated_identities(every) == []
    assert Counter(str(row["message"]).encode() for row in every) == Counter(lines.keys())


def check_nothing_came_that_was_not_late(landed: Landed, lines: Mapping[bytes, Written], said: Sequence[Said]) -> None:
    place = {str(row["message"]).encode(): name for name, found in landed.items() for row in found}
    for one in said:
        in_time = [text for text, line in lines.items() if line.start_ms == one.start_ms and line.is_in_time]
        assert [text for text in in_time if place[text] not in one.files] == []

"""Into the spool: syncs are shared, a full spool blocks or drops and counts, a disk that refuses is waited for (fault 16)."""

import asyncio
import errno
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from headrace.agents.effects import Input
from headrace.agents.metrics import Component, Metrics
from headrace.agents.sources.intake import Pushed
from headrace.agents.spool import taking_in
from headrace.agents.spool.files import FolderFiles
from headrace.agents.spool.frames import Records
from headrace.agents.spool.identity import Identity
from headrace.agents.spool.log import SpoolLog
from headrace.agents.spool.spools import Spool
from headrace.agents.spool.taking_in import SpoolIntake, WhenFull
from headrace.agents.state import FILE_NAME, AgentState
from headrace.agents.windows import CountedDrops
from headrace.audit import WINDOW_MS

IDENTITY = Identity("0123456789abcdef0123456789abcdef", Input("logs", name="app"))
NOW_MS = 1_700_000_000_000


class Files(FolderFiles):
    """A folder whose disk refuses as often as a test asks, in the middle of a write or at its sync."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.syncs = self.full_writes = self.failing_syncs = 0

    def write(self, name: str, offset: int, data: bytes) -> None:
        if self.full_writes:
            self.full_writes -= 1
            super().write(name, offset, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        super().write(name, offset, data)

    def sync(self, name: str) -> None:
        self.syncs += 1
        if self.failing_syncs:
            self.failing_syncs -= 1
            raise OSError(errno.EIO, "Input/output error")
        super().sync(name)


class Rig:
    """A spool of 2,000 bytes, and an agent's state."""

    def __init__(self, folder: Path) -> None:
        self.files = Files(folder)
        self.log = self.opened()
        self.state = AgentState(folder, machine_id="m", host="h", new_agent_id="a")
        self.drops = CountedDrops(folder / FILE_NAME)
        self.metrics = Metrics()
        self.metrics.inputs({"app": Component("app", "stdin")})

    def opened(self) -> SpoolLog:
        return SpoolLog(self.files, IDENTITY.mark, segment_bytes=500, max_bytes=2000, least_end=0)

    def run(self, steps: Callable[[SpoolIntake], Awaitable[None]], when_full: WhenFull = "block") -> None:
        """Take steps while the intake commits what is put."""

        async def main() -> None:
            with ThreadPoolExecutor(1) as executor:
                intake = SpoolIntake(
                    Spool("spool:app@logs", IDENTITY, self.log, self.files), service="app", when_full=when_full,
                    dropped=lambda pushed: self.drops("logs", pushed), executor=executor, metrics=self.metrics,
                )  # fmt: skip
                committing = asyncio.create_task(intake.run())
                async with asyncio.timeout(30):
                    await steps(intake)
                committing.cancel()

        asyncio.run(main())

    def lines(self) -> list[bytes]:
        """What a restart finds."""
        log = self.opened()
        lines: list[bytes] = []
        at = log.first
        while (found := log.read(at, most_lines=99, most_bytes=9999, most_beside_bytes=9999, most_ms=0)) is not None:
            assert isinstance(found, Records)
            lines += found.lines
            at = found.end
        return lines


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    monkeypatch.setattr(taking_in, "_DISK_RETRY_S", 0.01)
    monkeypatch.setattr(taking_in, "_ROOM_INTERVAL_S", 0.01)
    ours = Rig(tmp_path)
    yield ours
    ours.drops.close()
    ours.state.close()
    ours.files.close()


def pushed(*lines: bytes, received_ms: int = NOW_MS) -> Sequence[Pushed]:
    return [Pushed(line, received_ms, "test:") for line in lines]


def test_all_that_wait_share_a_sync(rig: Rig) -> None:
    before = rig.files.syncs

    async def steps(intake: SpoolIntake) -> None:
        await asyncio.gather(*(intake.put(pushed(b"%d" % number)) for number in range(50)))

    rig.run(steps)
    assert rig.files.syncs - before < 10
    assert rig.lines() == [b"%d" % number for number in range(50)]


@pytest.mark.parametrize("fault", ["full_writes", "failing_syncs"])
def test_fault_16_a_disk_that_refuses_is_waited_for_and_nothing_is_answered_before(rig: Rig, fault: str) -> None:
    async def steps(intake: SpoolIntake) -> None:
        await intake.put(pushed(b"before"))
        setattr(rig.files, fault, 3)
        await intake.put(pushed(b"while it refuses"))
        assert getattr(rig.files, fault) == 0
        assert not intake.full
        await intake.put(pushed(b"after"))

    rig.run(steps)
    assert rig.lines() == [b"before", b"while it refuses", b"after"]


def test_a_full_spool_blocks_until_something_is_acknowledged(rig: Rig) -> None:
    async def steps(intake: SpoolIntake) -> None:
        for number in range(4):
            await intake.put(pushed(b"%d" % number * 350))
        waiting = asyncio.create_task(intake.put(pushed(b"x" * 350)))
        done, _ = await asyncio.wait([waiting], timeout=0.1)
        assert not done
        assert intake.full
        rig.log.release(702)
        await waiting
        assert not intake.full

    rig.run(steps)
    assert rig.lines() == [b"2" * 350, b"3" * 350, b"x" * 350]


def test_drop_newest_counts_exactly_what_it_does_not_keep_in_the_windows_of_its_time(rig: Rig) -> None:
    async def steps(intake: SpoolIntake) -> None:
        for number in range(20):
            await intake.put(pushed(b"%d" % (number % 10) * 200, b"", received_ms=NOW_MS + number * WINDOW_MS // 5))
        assert not intake.full

    rig.run(steps, "drop_newest")
    kept = len(rig.lines())
    windows = rig.state.unsaid_windows(99)
    assert 0 < kept < 40
    assert sum(count for window in windows for _, count in window.dropped) == 40 - kept
    assert {reason for window in windows for reason, _ in window.dropped} == {"spool_full"}
    assert len(windows) > 2


def test_at_the_stop_what_was_taken_in_is_kept_room_or_not(rig: Rig) -> None:
    async def steps(intake: SpoolIntake) -> None:
        for _ in range(4):
            await intake.put(pushed(b"x" * 350))
        waiting = asyncio.create_task(intake.put(pushed(b"taken from a pipe" * 30)))
        await asyncio.sleep(0)
        intake.closing = True
        await intake.drained()
        await waiting

    rig.run(steps)
    assert rig.lines()[-1] == b"taken from a pipe" * 30


def test_a_frame_that_is_larger_than_the_spool_goes_into_an_empty_one(rig: Rig) -> None:
    async def steps(intake: SpoolIntake) -> None:
        await intake.put(pushed(b"x" * 10_000))

    rig.run(steps)
    assert rig.lines() == [b"x" * 10_000]

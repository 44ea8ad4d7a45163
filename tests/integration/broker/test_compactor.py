"""The compactor on real files with real worker processes: what goes wrong with one log is no other's concern."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

from headrace.broker.compacting import Compactor
from headrace.broker.log.compaction.plan import CleanerLimits
from headrace.broker.log.directories import LogDirectories
from headrace.broker.log.directory import LogDirectoryConfig
from headrace.broker.log.disk import RealDisk
from headrace.broker.log.partition_log import PartitionLog
from headrace.broker.log.record import Record, build_batch

NOW_MS = 1_700_000_000_000
SETTINGS: dict[str, str | None] = {"cleanup.policy": "compact", "segment.bytes": "2000", "min.cleanable.dirty.ratio": "0"}


class HandClock:
    """Wall time moved by hand."""

    def __init__(self) -> None:
        self.now_ms = NOW_MS

    def wall_ms(self) -> int:
        return self.now_ms

    def monotonic_ms(self) -> int:
        return self.now_ms


def filled(logs: LogDirectories, topic: str, topic_id: int) -> PartitionLog:
    log = logs.create(topic, 0, UUID(int=topic_id), SETTINGS)
    for at in range(200):
        batch = build_batch([Record(b"k%d" % (at % 3), b"value %d" % at, NOW_MS)])
        assert log.append(batch, now_ms=NOW_MS).error == 0
    log.sync(checkpoint=True)
    logs.maintain(NOW_MS + 3_600_000 * topic_id)
    return log


def run(path: Path, scenario: Callable[[LogDirectories, Compactor, HandClock], Awaitable[None]]) -> None:
    async def with_compactor() -> None:
        logs = LogDirectories.open(RealDisk(), [str(path)], LogDirectoryConfig(node_id=1, cluster_id="c"), NOW_MS)
        clock = HandClock()
        with ThreadPoolExecutor(2) as executor:
            compactor = Compactor(logs, clock, executor, CleanerLimits(), processes=1, backoff_ms=1000)
            await scenario(logs, compactor, clock)
            await compactor.close()
        logs.close(NOW_MS)

    asyncio.run(with_compactor())


def test_a_log_that_cannot_be_read_is_left_alone_until_its_settings_change_and_others_are_cleaned(tmp_path: Path) -> None:
    async def scenario(logs: LogDirectories, compactor: Compactor, clock: HandClock) -> None:
        bad, good = filled(logs, "bad", 1), filled(logs, "good", 2)
        with (tmp_path / "bad-0" / f"{0:020d}.log").open("r+b") as file:
            file.seek(100)
            file.write(b"\xff\xff")
        outcomes = [await compactor.clean_one() for _ in range(3)]
        assert sorted(outcomes) == [False, False, True]
        assert good.size_bytes < bad.size_bytes
        counts = compactor.counts
        assert (counts.cleanings, counts.failures, counts.uncleanable_partitions) == (1, 1, 1)
        clock.now_ms += 3_600_000
        assert not await compactor.clean_one()
        assert counts.failures == 1, "it was not tried again"
        logs.configure("bad", {**SETTINGS, "segment.ms": "5000"})
        assert not await compactor.clean_one()
        assert counts.failures == 2, "it was, with other settings"

    run(tmp_path, scenario)


def test_a_failure_is_tried_again_after_a_while_and_then_after_longer(tmp_path: Path) -> None:
    async def scenario(logs: LogDirectories, compactor: Compactor, clock: HandClock) -> None:
        log = filled(logs, "events", 1)
        segment = tmp_path / "events-0" / f"{0:020d}.log"
        segment.rename(segment.with_suffix(".away"))
        failures = []
        for wait_ms in (0, 999, 1, 1999, 1, 3999, 1):
            clock.now_ms += wait_ms
            assert not await compactor.clean_one()
            failures.append(compactor.counts.failures)
        assert failures == [1, 1, 2, 2, 3, 3, 4]
        segment.with_suffix(".away").rename(segment)
        clock.now_ms += 8000
        assert await compactor.clean_one()
        assert log.cleaned_to == log.segments.active.base_offset

    run(tmp_path, scenario)


def test_a_topic_deleted_and_made_again_meanwhile_is_not_touched(tmp_path: Path) -> None:
    async def scenario(logs: LogDirectories, compactor: Compactor, _: HandClock) -> None:
        filled(logs, "events", 1)
        cleaning = asyncio.create_task(compactor.clean_one())
        await asyncio.sleep(0)
        logs.delete("events", UUID(int=1))
        again = filled(logs, "events", 2)
        before = again.read(0, 1 << 20).records
        await cleaning
        assert again.read(0, 1 << 20).records == before
        assert again.cleaned_to == 0
        assert compactor.counts.failures == 0
        names = [file.name for file in (tmp_path / "events-0").iterdir()]
        assert not [name for name in names if name.endswith((".cleaned", ".swap"))]

    run(tmp_path, scenario)

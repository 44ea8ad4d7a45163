"""A broker in this process, without a network, on a real directory and a clock that is moved by hand."""

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from headrace.broker.broker import Broker
from headrace.broker.config import BrokerConfig
from headrace.broker.coordination.sqlite import SqliteStore
from headrace.broker.groups.service import GroupService
from headrace.broker.handlers.table import APIS
from headrace.broker.log.directories import LogDirectories
from headrace.broker.log.disk import RealDisk
from headrace.clock import MonotonicMs, WallMs


class HandClock:
    """Moved by hand."""

    def __init__(self) -> None:
        self.now_ms = 1_700_000_000_000

    def wall_ms(self) -> WallMs:
        return WallMs(self.now_ms)

    def monotonic_ms(self) -> MonotonicMs:
        return MonotonicMs(self.now_ms // 2)


class Node:
    """A broker without a network, in one directory; opened again it is the next process."""

    def __init__(self, directory: Path, clock: HandClock, **keys: object) -> None:
        self.directory, self.clock = directory, clock
        self.config = BrokerConfig.model_validate({"group.initial.rebalance.delay.ms": 0, **keys})

    @contextmanager
    def running(self) -> Iterator[tuple[Broker, GroupService]]:
        store = SqliteStore(self.directory / "coordination.db")
        overrides = {topic.name: dict(topic.configs) for topic in store.topics()}
        settings = self.config.log_directory("cluster")
        logs = LogDirectories.open(RealDisk(), [str(self.directory)], settings, self.clock.wall_ms(), overrides=overrides)
        with ThreadPoolExecutor(1) as executor:
            broker = Broker(self.config, self.clock, store, logs, APIS, executor)
            broker.load()
            numbers = itertools.count(1)
            groups = broker.groups = GroupService(broker, unique_text=lambda: f"id{next(numbers)}")
            groups.load()
            yield broker, groups
            groups.close()
            logs.close(self.clock.wall_ms())
            store.close()

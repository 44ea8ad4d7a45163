"""What becomes of one table when work on it fails; and that a table begins again soundly, whichever step it was."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from headrace.clock import MonotonicMs, WallMs
from headrace.errors import CorruptError, PeerError, StorageError, VersionError
from headrace.sinks.check import check_root
from headrace.sinks.config import Output
from headrace.sinks.lag.standings import TableStanding
from headrace.sinks.recovery import LONGEST_REST_MS, PROOF_MS, Recovery
from headrace.sinks.registered import Schemas
from headrace.sinks.resume import Sight, resume
from headrace.sinks.stores.local import LocalRoot, LocalStore
from headrace.sinks.table import reader
from headrace.sinks.table_loader import TableLoader
from tests.unit.sinks.messages import Message

NOW_MS = WallMs(1_790_000_000_000)


def rests(recovery: Recovery, *errors: Exception) -> list[int]:
    return [recovery.failed(error, NOW_MS) for error in errors]


@pytest.mark.parametrize("error", [CorruptError("torn"), VersionError("newer"), RuntimeError("nobody foresaw it")])
def test_what_does_not_heal_is_told_at_once_and_tried_ever_more_rarely(error: Exception) -> None:
    recovery = Recovery()
    assert rests(recovery, *[error] * 11) == [1000 * 2**n for n in range(9)] + [LONGEST_REST_MS] * 2
    assert recovery.trouble is not None
    assert (recovery.trouble.failures, recovery.trouble.since_ms) == (11, NOW_MS)
    assert str(error) in recovery.trouble.error


def test_a_store_that_fails_now_and_then_is_told_of_only_when_it_goes_on() -> None:
    recovery = Recovery()
    assert rests(recovery, StorageError("503"), StorageError("503")) == [5000, 5000]
    assert recovery.trouble is None
    rests(recovery, StorageError("503"))
    assert recovery.trouble is not None


def test_kafka_and_the_registry_are_no_tables_trouble() -> None:
    recovery = Recovery()
    assert rests(recovery, *[PeerError("away")] * 50) == [1000] * 50
    assert recovery.trouble is None


def test_a_table_is_well_once_it_lands() -> None:
    recovery = Recovery()
    rests(recovery, CorruptError("torn"), CorruptError("torn"))
    recovery.is_well()
    assert recovery.trouble is None
    assert rests(recovery, CorruptError("torn")) == [1000]


def test_being_open_proves_nothing_until_there_was_nothing_to_land_for_a_minute() -> None:
    recovery = Recovery()
    rests(recovery, CorruptError("torn"))
    recovery.opened(MonotonicMs(7))
    recovery.idles(MonotonicMs(7 + PROOF_MS - 1))
    assert recovery.trouble is not None
    recovery.idles(MonotonicMs(7 + PROOF_MS))
    assert recovery.trouble is None


class FailingStore:
    """A store of a local disk that raises what nobody foresaw, once, at its `at`th call: before that takes effect, after, or
    before and yet it takes effect `late`, as a request that is still on its way."""

    def __init__(self, store: LocalStore, at: int, when: str) -> None:
        self._store, self._left, self._when = store, at, when
        self._late: list[Callable[[], Any]] = []
        self.stages = store.stages

    @property
    def has_failed(self) -> bool:
        return self._left < 0

    def arrive(self) -> None:
        """What is on its way takes effect."""
        while self._late:
            self._late.pop()()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._store, name)

        def call(*arguments: Any, **named: Any) -> Any:
            self._left -= 1
            if self._left != -1:
                return method(*arguments, **named)
            if self._when == "after":
                method(*arguments, **named)
            elif self._when == "late":
                self._late.append(partial(method, *arguments, **named))
            raise ZeroDivisionError(name)

        return call


class FailingRoot(LocalRoot):
    def __init__(self, directory: Path, at: int, when: str) -> None:
        super().__init__(directory)
        self.store = FailingStore(LocalStore(directory / "t"), at, when)

    def table(self, topic: str) -> Any:
        return self.store


class Clock:
    def wall_ms(self) -> WallMs:
        return NOW_MS

    def monotonic_ms(self) -> MonotonicMs:
        return MonotonicMs(77)


def is_same(_: object) -> bool:
    """The topic is still what was read."""
    return True


def land(loader: TableLoader, messages: list[Message]) -> None:
    """As `Opening`, `Intake` and `Landing` do."""
    loader.open()
    loader.begin(0, resume(loader.fold, 0, Sight("id", 0, len(messages), None)), "id")
    for message in messages[loader.next_offset(0) :]:
        loader.take(0, [message], lambda *_: "control")
        if message.at % 4 == 3:
            loader.attempt.spill()
    loader.carry_out(loader.tenure.commit(), is_same)
    assert loader.tenure.is_open
    loader.sweep()
    loader.close()


@pytest.mark.parametrize("when", ["before", "after", "late"])
def test_whichever_call_to_the_store_fails_unforeseen_each_record_lands_once_at_the_next_try(tmp_path: Path, when: str) -> None:
    hours = [Message(n, b"%d" % n, NOW_MS + 3_600_000 * (n % 3)) for n in range(12)]
    at, failures, has_failed = 0, 0, True
    while has_failed:
        root = FailingRoot(tmp_path / f"{at}", at, when)
        names = iter(f"attempt-{number}" for number in range(99))
        loader = TableLoader(
            "t",
            root,
            Output(),
            Schemas(None),
            Clock(),
            names.__next__,
            standing=TableStanding(),
            generation=None,
            is_stopping=lambda: False,
        )
        while loader.fold.end(0, 0) < len(hours):
            try:
                land(loader, hours)
            except ZeroDivisionError as error:
                failures += 1
                loader.carry_out(loader.tenure.start_over(str(error)), is_same)
                assert (list(loader.tenure.partitions), loader.attempt.held_bytes, loader.is_blocked) == ([], 0, False)
                root.store.arrive()
        (report,) = check_root(str(root), deep=True)
        assert not report.broken
        assert sum(file.rows for file in reader.snapshot(str(root), "t").files) == len(hours)
        has_failed, at = root.store.has_failed, at + 1
    assert failures >= 15

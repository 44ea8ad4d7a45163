"""The thread that takes in: a source that fails is begun again beside the others; one that cannot begin ends the start."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from headrace.agents.effects import Input
from headrace.agents.metrics import Component, Metrics
from headrace.agents.sources import running as running_module
from headrace.agents.sources.doors import Door, Doors
from headrace.agents.sources.intake import Intake, Pushed, Source
from headrace.agents.sources.running import PushedInput
from headrace.agents.sources.thread import IntakeThread
from headrace.agents.spool.frames import Records
from headrace.agents.spool.spools import Spools, Wanted
from headrace.errors import HeadraceError, UsageError


class Script:
    """A source that does what a test says."""

    def __init__(self, act: Callable[[Intake], object], ports: Mapping[str, int] | None = None) -> None:
        self._act, self._ports = act, ports or {}

    @property
    def doors(self) -> list[Door]:
        return []

    @property
    def ports(self) -> Mapping[str, int]:
        return self._ports

    async def prepare(self) -> None:
        pass

    def become(self, other: Source) -> bool:
        return other is self

    async def run(self, intake: Intake) -> None:
        result = self._act(intake)
        if asyncio.iscoroutine(result):
            await result


class Rig:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.metrics = Metrics()
        self.spools: Spools | None = None
        self.thread: IntakeThread | None = None

    def start(self, **makes: Callable[[], Source]) -> Mapping[str, int]:
        wanted = {name: Wanted(name, Input("logs", name=name), 1 << 20) for name in makes}
        self.spools = Spools(self._folder, wanted, position=lambda _: 0, least_end=lambda _: 0)
        self.metrics.inputs({name: Component(name, "stdin") for name in makes})
        self.thread = IntakeThread(self._inputs(makes), Doors(), lambda *_: None, self.metrics)
        return self.thread.start()

    def _inputs(self, makes: Mapping[str, Callable[[], Source]]) -> list[PushedInput]:
        assert self.spools is not None
        return [PushedInput(name, make, self.spools.by_input[name], name, "block") for name, make in makes.items()]

    def change(self, **makes: Callable[[], Source]) -> Mapping[str, int]:
        """Go on with these, whose spools are there from the start."""
        assert self.thread is not None
        return self.thread.change(self._inputs(makes), lambda: None)

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def lines(self, name: str) -> list[bytes]:
        assert self.spools is not None
        found = self.spools.by_input[name].log.read(
            0, most_lines=999, most_bytes=1 << 20, most_beside_bytes=9999, most_ms=1 << 40
        )
        assert found is None or isinstance(found, Records)
        return [] if found is None else found.lines


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    monkeypatch.setattr(running_module, "_RETRY_LEAST_S", 0.01)
    ours = Rig(tmp_path / "spool")
    yield ours
    if ours.thread is not None:
        ours.thread.stop(10)
    if ours.spools is not None:
        ours.spools.close()


def line(text: bytes) -> list[Pushed]:
    return [Pushed(text, 1_700_000_000_000, "test:")]


def test_a_source_that_fails_is_begun_again_and_the_others_go_on(rig: Rig) -> None:
    done = threading.Event()
    runs = 0

    async def fails_twice(intake: Intake) -> None:
        nonlocal runs
        runs += 1
        intake.began()
        await intake.put(line(b"run %d" % runs))
        if runs < 3:
            raise OSError("broken")
        done.set()

    async def goes_on(intake: Intake) -> None:
        intake.began()
        while not done.is_set():
            await intake.put(line(b"on"))
            await asyncio.sleep(0.001)

    rig.start(bad=lambda: Script(fails_twice), good=lambda: Script(goes_on))
    assert done.wait(30)
    assert rig.thread is not None
    rig.thread.stop(10)
    assert rig.lines("bad") == [b"run 1", b"run 2", b"run 3"]
    assert len(rig.lines("good")) > 1


def test_what_cannot_begin_is_an_error_of_the_start(rig: Rig) -> None:
    def refuse(_: Intake) -> None:
        raise UsageError("the port is taken; choose another")

    async def waits(intake: Intake) -> None:
        intake.began()
        await asyncio.sleep(3600)

    with pytest.raises(UsageError, match="the port is taken"):
        rig.start(good=lambda: Script(waits), bad=lambda: Script(refuse))


def test_ports_are_told_by_input_and_transport(rig: Rig) -> None:
    async def listens(intake: Intake) -> None:
        intake.began()
        await asyncio.sleep(3600)

    assert rig.start(logs=lambda: Script(listens, {"tcp": 514, "udp": 515})) == {"logs.tcp": 514, "logs.udp": 515}


def test_a_source_that_is_stopped_keeps_what_it_has_taken(rig: Rig) -> None:
    async def takes(intake: Intake) -> None:
        intake.began()
        try:
            await asyncio.sleep(3600)
        finally:
            await intake.put(line(b"the rest"))

    rig.start(pipe=lambda: Script(takes))
    assert rig.thread is not None
    rig.thread.stop(10)
    assert rig.lines("pipe") == [b"the rest"]


async def _waits(intake: Intake) -> None:
    intake.began()
    try:
        await asyncio.sleep(3600)
    finally:
        await intake.put(line(b"the rest"))


def test_a_change_ends_what_is_gone_begins_what_is_new_and_keeps_what_was_taken(rig: Rig) -> None:
    rig.start(a=lambda: Script(_waits), b=lambda: Script(_waits))
    ports = rig.change(b=lambda: Script(_waits, {"tcp": 5}))
    assert rig.lines("a") == [b"the rest"]
    rig.until(lambda: rig.lines("b") == [b"the rest"])  # it could not become the other, so it ended
    assert ports == {"b.tcp": 5}
    rig.change(a=lambda: Script(_waits), b=lambda: Script(_waits))
    assert rig.thread is not None
    rig.thread.stop(10)
    assert rig.lines("a") == [b"the rest"] * 2


def test_a_change_that_one_input_cannot_begin_with_leaves_all_as_they_were(rig: Rig) -> None:
    class Refuses(Script):
        async def prepare(self) -> None:
            raise UsageError("the port is taken; choose another")

    rig.start(a=lambda: Script(_waits), b=lambda: Script(_waits))
    with pytest.raises(UsageError, match="the port is taken"):
        rig.change(b=lambda: Refuses(_waits))
    assert rig.lines("a") == rig.lines("b") == []
    assert rig.thread is not None
    rig.thread.stop(10)
    assert rig.lines("a") == rig.lines("b") == [b"the rest"]


def test_a_source_that_fails_while_it_is_ended_is_not_begun_again(rig: Rig) -> None:
    runs = 0

    async def fails_at_its_end(intake: Intake) -> None:
        nonlocal runs
        runs += 1
        intake.began()
        try:
            await asyncio.sleep(3600)
        finally:
            raise OSError("broken")

    rig.start(a=lambda: Script(fails_at_its_end), b=lambda: Script(_waits))
    rig.change(b=lambda: Script(_waits))
    rig.change(a=lambda: Script(_waits), b=lambda: Script(_waits))
    assert runs == 1


@pytest.mark.parametrize("how", ["fails", "is cancelled"])
def test_what_no_input_can_go_on_after_is_never_silent(rig: Rig, how: str) -> None:
    """A commit that fails for another reason than its disk, or a task that somebody else cancels, takes nothing in any more."""

    started = threading.Event()

    async def puts(intake: Intake) -> None:
        intake.began()
        await asyncio.to_thread(started.wait)
        if how == "is cancelled":
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(0)
        await intake.put([Pushed(b"x", 1, object())])  # type: ignore[arg-type] - it is no JSON

    rig.start(bad=lambda: Script(puts))
    assert rig.thread is not None
    thread = rig.thread
    started.set()
    rig.until(thread.why_not_alive)
    assert "the thread that takes in has failed" in str(thread.why_not_alive())
    with pytest.raises(HeadraceError, match="start the agent again"):
        thread.check()

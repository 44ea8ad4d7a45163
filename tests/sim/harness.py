"""The simulator's harness (design D7): one seed decides everything; a failing seed is kept for ever; guards can be taken out.

A scenario is a function of a `random.Random` that raises AssertionError when an invariant breaks. It draws every crash, torn
write, lost page, delay and clock step from that one source, and iterates no set (set order changes with PYTHONHASHSEED).

    HEADRACE_SIM_SEEDS=20000   how many seeds each scenario runs (`make sim` runs more than `make test`)
    HEADRACE_SIM_SEED=1234     run this one only
"""

import contextlib
import importlib
import inspect
import itertools
import os
import random
import textwrap
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import pytest

Scenario = Callable[[random.Random], None]
_KEPT = Path(__file__).parent / "seeds"


def run_seeds(scenario: Scenario, *, count: int) -> None:
    """Run a scenario under the seeds kept in `seeds/<scenario>.txt`, then under `count` more; name the seed that fails."""
    for seed in _seeds(scenario, count):
        _run(scenario, seed)


def first_failing_seed(scenario: Scenario, *, count: int) -> int | None:
    """The first of `count` seeds under which the scenario fails; for showing that a removed guard is noticed.

    Before them come the seeds of `seeds/<scenario>.guards.txt`: the first that noticed where hundreds had not.
    """
    for seed in itertools.chain(_kept(f"{scenario.__name__}.guards"), range(count)):
        try:
            scenario(random.Random(seed))
        except Exception:  # noqa: BLE001 - without its guard the code may fail in any way
            return seed
    return None


class Guard(NamedTuple):
    """Code of one function that holds an invariant, and what stands there without it; as `mutated` takes them."""

    target: type | types.ModuleType
    function: str
    code: str
    without: str

    def is_noticed(self, scenario: Scenario, *, count: int) -> bool:
        """Whether one of `count` seeds fails without it."""
        with mutated(*self):
            return first_failing_seed(scenario, count=count) is not None


def each_guard(*guards: tuple[type | types.ModuleType, str, str, str]) -> pytest.MarkDecorator:
    """Run a test with each of these as its `guard`."""
    return pytest.mark.parametrize(
        "guard", [pytest.param(Guard(*each), id=f"{each[0].__name__}-{'-'.join(each[1:])}") for each in guards]
    )


def _run(scenario: Scenario, seed: int) -> None:
    try:
        scenario(random.Random(seed))
    except BaseException as error:
        error.add_note(
            f"seed {seed}: run again with HEADRACE_SIM_SEED={seed}; keep it in tests/sim/seeds/{scenario.__name__}.txt"
        )
        raise


def _seeds(scenario: Scenario, count: int) -> Iterator[int]:
    if only := os.environ.get("HEADRACE_SIM_SEED"):
        yield int(only)
        return
    yield from _kept(scenario.__name__)
    yield from range(int(os.environ.get("HEADRACE_SIM_SEEDS", count)))


def _kept(name: str) -> list[int]:
    """The seeds of a file, one a line; what follows `#` says why."""
    kept = _KEPT / f"{name}.txt"
    lines = [line.split("#")[0] for line in kept.read_text().splitlines()] if kept.exists() else []
    return [int(line) for line in lines if line.strip()]


@contextlib.contextmanager
def mutated(target: type | types.ModuleType, name: str, old: str, new: str) -> Iterator[None]:
    """Take out a guard: within the block, function `name` of `target` is compiled from its source with `old` replaced by `new`.

    `old` must occur exactly once, so that a mutation cannot silently stop mutating. Nothing in the product knows of this.
    """
    function = inspect.unwrap(getattr(target, name))
    source = inspect.getsource(function)
    assert source.count(old) == 1, f"{name} contains {old!r} {source.count(old)} times"
    module = target if isinstance(target, types.ModuleType) else importlib.import_module(target.__module__)
    namespace: dict[str, object] = {}
    exec(compile(textwrap.dedent(source).replace(old, new), f"<mutated {name}>", "exec"), vars(module), namespace)
    static = isinstance(inspect.getattr_static(target, name), staticmethod | classmethod)
    assert not static, "mutate plain functions and methods"
    with mock.patch.object(target, name, namespace[name]):
        yield

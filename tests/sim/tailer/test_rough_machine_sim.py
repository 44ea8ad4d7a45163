"""The tailer on a rough machine: a wall clock that jumps by an hour, reads that fail, devices that get other numbers.

Held as in test_tailer_sim.py, but that an old file beside a log may be shipped: in doubt it is a repeat, not a loss.
"""

import random
from typing import Any

from headrace.agents.effects import NotOpened, Open, Read
from headrace.agents.tail import reading
from headrace.agents.tail.meeting import Meeting
from headrace.agents.tail.tailer import Tailer
from tests.sim.harness import Guard, each_guard, run_seeds
from tests.sim.tailer.simulation import Simulation, fingerprints_of
from tests.sim.tailer.writers import PIPELINES

HOUR_MS = 3_600_000


class RoughMachine(Simulation):
    """One agent's life on it."""

    def __init__(self, rng: random.Random) -> None:
        self.fail_rate = rng.choice((0.0, 0.1, 0.3))
        self.jump_rate = rng.choice((0.0, 0.02, 0.1))
        self.renumber_rate = rng.choice((0.0, 0.5))
        super().__init__(rng, PIPELINES)

    def act(self) -> None:
        super().act()
        if not self.healing and self.rng.random() < self.jump_rate:
            self.jump()

    def jump(self) -> None:
        """The clock is an hour ahead, behind or right. When it jumps ahead, what was made before looks as old as an hour."""
        before, self.files.skew_ms = self.files.skew_ms, self.rng.choice((-HOUR_MS, 0, HOUR_MS))
        if self.files.skew_ms > before:
            self.owed.clear()

    def start(self) -> Tailer:
        if self.rng.random() < self.renumber_rate:
            self.files.device += 1
        return super().start()

    def do(self, effect: Any) -> Any:
        if isinstance(effect, Open | Read) and not self.healing and self.rng.random() < self.fail_rate:
            return NotOpened("Input/output error", denied=False) if isinstance(effect, Open) else None
        return super().do(effect)

    def check_old(self, is_shipped: bool) -> None:
        assert is_shipped or not self.all_names, "an old rotated file is shipped if it is asked for"


def tailer_on_a_rough_machine(rng: random.Random) -> None:
    with fingerprints_of(rng.choice((32, 1024)), rng.choice((24, 256))):
        RoughMachine(rng).live(150)


def test_on_a_rough_machine_every_readable_line_is_delivered_once_by_identity() -> None:
    run_seeds(tailer_on_a_rough_machine, count=40)


@each_guard(
    (Meeting, "_known_to_ms", "if known_ms <= self._run.started.wall_ms:", "if True:"),
    (Meeting, "_known_to_ms", "if born_ms <= self._run.started.wall_ms else 0", ""),
    (reading, "_find_line_end", "return -1", "break"),
)
def test_a_guard_taken_out_is_noticed(guard: Guard) -> None:
    assert guard.is_noticed(tailer_on_a_rough_machine, count=2000)

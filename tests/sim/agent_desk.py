"""One agent on simulated files, moved step by step, for single histories of its cores that a seed rarely meets."""

from typing import Any

from headrace.agents.budget import Budget
from headrace.agents.effects import Advance, Effect, Forget, Lost, Note, Now, Recall, Save, Send, Shipped, Steps, carry_out
from headrace.agents.run import Run
from headrace.agents.tail.reading import Limits
from tests.sim.tailer.world import BASE_MS, Disk, Files


class AgentDesk:
    """Nothing happens but what a history says; what is sent is kept until it says that it is acknowledged."""

    core: Any
    once = False  # whether the agent that starts next makes a finite run
    ready = True  # whether topics can be sent to

    def __init__(self, files: Files, limits: Limits | None = None) -> None:
        self.files, self.disk, self.limits = files, Disk(), limits or Limits()
        self.sent: list[Send] = []
        self.lost: list[tuple[int, str]] = []  # bytes, and why
        self.notes: list[str] = []
        self._minted = 0
        self.start()

    def start(self) -> None:
        """The agent begins, from what is durable."""
        self.disk.flush()
        self.files.close_all()
        self.core = self.made(
            Run(
                "h", self._mint, lambda *_: 0, lambda _: self.ready,
                once=self.once, budget=Budget(self.limits), started=self.now(),
            )
        )  # fmt: skip

    def made(self, run: Run) -> Any:
        """Its core."""
        raise NotImplementedError

    def _mint(self) -> str:
        self._minted += 1
        return f"s-{self._minted - 1}"

    def now(self) -> Now:
        return Now(self.files.now_ms, BASE_MS + self.files.now_ms)

    def carry_out(self, steps: Steps[Any]) -> Any:
        return carry_out(steps, self.do)

    def do(self, effect: Effect) -> Any:
        match effect:
            case Save() | Advance() | Lost() | Forget():
                self.disk.pending.append(effect)
                if isinstance(effect, Lost):
                    self.lost.append((effect.size_bytes, effect.reason))
            case Send():
                self.sent.append(effect)
                return Shipped(effect.chunk.end, 0)
            case Recall():
                return self.disk.recall(effect)
            case Note():
                self.notes.append(effect.message)
            case _:
                return self.files.do(effect)
        return None

"""What one run of the agent is, to each of its cores."""

from collections.abc import Callable
from dataclasses import dataclass

from headrace.agents.budget import Budget
from headrace.agents.effects import Now


@dataclass(frozen=True, slots=True)
class Run:
    """From one start of the agent to its end. All cores (files, dropped files, spools) are made with the same one.

    Attributes:
        host: the name that new streams' events carry.
        mint: makes a new stream id.
        place: chooses the partition of a new stream (topic, stream id), asked once per stream.
        ready: whether a topic can be sent to; what goes to one that cannot yet waits, and nothing is claimed meanwhile.
        once: a finite run: what is there at the start is shipped, unterminated tails are lines, nothing is waited for.
        budget: how much may be on its way, of all that is read.
        started: the moment of the start.
    """

    host: str
    mint: Callable[[], str]
    place: Callable[[str, str], int]
    ready: Callable[[str], bool]
    once: bool
    budget: Budget
    started: Now

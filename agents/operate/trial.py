"""A run of the agent's cores in which nothing is sent and nothing kept: for fixtures, and for what a start would do."""

import itertools

from headrace.agents.budget import Budget
from headrace.agents.effects import Now
from headrace.agents.run import Run
from headrace.agents.tail.reading import Limits


def trial_run(now: Now, *, once: bool, host: str = "") -> Run:
    """Every topic is ready, and has one partition."""
    ids = itertools.count()
    return Run(host, lambda: f"new-{next(ids)}", lambda *_: 0, lambda _: True, once=once, budget=Budget(Limits()), started=now)

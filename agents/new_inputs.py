"""Inputs that an agent never had before: where their files begin is decided, and durable, before a line of them is read."""

from collections.abc import Callable, Iterable, Set
from typing import Any

from headrace.agents.effects import Listing, Now, Steps
from headrace.agents.tail.files import Globs, list_files
from headrace.agents.tail.tailer import Tailer


def begin_new(
    globs: Iterable[Globs],
    begun: Set[tuple[str, str]],
    tailer: Tailer,
    carry_out: Callable[[Steps[None]], Any],
    ours: Callable[[Listing], Listing],
    now: Now,
) -> None:
    """Begin the inputs that have not.

    Args:
        begun: topic and name of those that have.
        ours: leaves out of a listing what is not to be shipped.
    """
    new = [each for each in globs if (each.input.topic, each.input.name) not in begun]
    listing = Listing(now, (), frozenset())
    if any(not each.input.start.from_beginning for each in new):
        found = list_files(globs, (), now)
        listing = ours(list_files(globs, [(seen.input.topic, seen.path) for seen in found.files], now))
    if new:
        carry_out(tailer.beginnings.decide(listing, {(each.input.topic, each.input.name) for each in new}))

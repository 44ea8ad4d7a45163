"""Inputs that an agent never had before: where their files begin is decided, and durable, before a line of them is read."""

from collections.abc import Callable, Iterable, Set
from typing import Any

from headrace.agents.effects import Listing, Now, Steps
from headrace.agents.tail.files import Globs
from headrace.agents.tail.listing import Listings
from headrace.agents.tail.tailer import Tailer


def begin_new(
    globs: Iterable[Globs],
    begun: Set[tuple[str, str]],
    tailer: Tailer,
    carry_out: Callable[[Steps[None]], Any],
    listings: Listings,
    now: Now,
) -> None:
    """Begin the inputs that have not.

    Args:
        begun: topic and name of those that have.
        listings: of their files.
    """
    new = [each for each in globs if (each.input.topic, each.input.name) not in begun]
    listing = Listing(now, (), frozenset())
    if any(not each.input.start.from_beginning for each in new):
        found = listings.take(set(), (), now)
        listing = listings.take({(seen.input.topic, seen.path) for seen in found.files}, (), now)
    if new:
        carry_out(tailer.beginnings.decide(listing, {(each.input.topic, each.input.name) for each in new}))

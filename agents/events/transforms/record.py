"""One event on its way through the steps. One object serves a chunk: its line changes, what it counts stays."""

from collections.abc import Callable
from typing import Any


class Record:
    """What steps see and change.

    `text` is the message, `fields` what the parser found; `position` is the line's. `identity` is a hash (xxh64) of what all
    identities of the chunk begin with. `allowance` is how many lines a rate limit lets pass yet.
    """

    __slots__ = ("allowance", "fields", "identity", "position", "text")

    def __init__(self, identity: Any, allowance: int) -> None:
        self.identity = identity
        self.allowance = allowance
        self.text = ""
        self.fields: dict[str, str] = {}
        self.position = 0


# A step changes the record, and returns why it is not to be sent, if it is not.
Step = Callable[[Record], str | None]

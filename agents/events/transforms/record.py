"""One event on its way through the steps. One object serves a chunk: its line changes, what it counts stays."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

# What a user's function said of a line: to leave it out (False), an error's text, or its message and fields.
Answer = Literal[False] | str | tuple[str, dict[str, str]]


class Record:
    """What steps see and change.

    `text` is the message, `fields` what the parser found; `position` is the line's. `room_bytes` is the line's length, which no
    message may pass: the loader takes a record to cover the positions of its message's bytes (sinks/repeats.py). `identity` is
    a hash (xxh64) of what all identities of the chunk begin with, `origin` names host, service and source. `allowance` is how
    many lines a rate limit lets pass yet. `answers` gathers those of users' functions; `repeated` are those of the first time,
    where they are known.
    """

    __slots__ = ("allowance", "answers", "fields", "identity", "origin", "position", "repeated", "room_bytes", "text")

    def __init__(self, identity: Any, allowance: int, origin: Mapping[str, str], repeated: Sequence[Answer] | None) -> None:
        self.identity = identity
        self.allowance = allowance
        self.origin = origin
        self.answers: list[Answer] = []
        self.repeated = None if repeated is None else iter(repeated)
        self.text = ""
        self.fields: dict[str, str] = {}
        self.position = self.room_bytes = 0


# A step changes the record, and returns why it is not to be sent, if it is not.
Step = Callable[[Record], str | None]

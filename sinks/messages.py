"""What the loader needs of a record as the client gives it."""

from collections.abc import Iterator, Sequence
from operator import itemgetter, methodcaller
from typing import Any, Final, Protocol

import numpy as np

Headers = Sequence[tuple[str, bytes | None]]
_ASK: Final = methodcaller("headers")
_UNREADABLE: Final[list[Any]] = [("a header's name is not UTF-8", None)]


class Message(Protocol):
    """What we need of a confluent_kafka.Message."""

    def offset(self) -> int: ...
    def key(self) -> bytes | None: ...
    def value(self) -> bytes | None: ...
    def timestamp(self) -> tuple[int, int]: ...
    def headers(self) -> Any: ...
    def set_headers(self, value: list[Any], /) -> None: ...


def headers_of(message: Message) -> Headers | None:
    """A record's headers; None where the client cannot read them, because a name is not UTF-8.

    Always ask in this module. For such a name the client (2.13) answers with a tuple that holds a null pointer, and with an
    exception: whoever looks at the tuple ends the process. methodcaller checks for that, and raises SystemError; a call of the
    method in Python does not once the interpreter has specialized it. On being asked again the client gives the tuple alone.
    """
    (found,) = headers_of_all((message,))
    return None if found is _UNREADABLE else found or ()


def headers_of_all(messages: Sequence[Message]) -> list[Headers | None]:
    """The headers of records, of most of them None; what cannot be read has one that says so."""
    found: list[Headers | None] = []
    rest = iter(messages)
    while True:
        try:
            for headers in map(_ASK, rest):
                found.append(headers)  # noqa: PERF402 - what came before an error stays
        except (SystemError, UnicodeDecodeError):
            messages[len(found)].set_headers(_UNREADABLE)
            found.append(_UNREADABLE)
        else:
            return found


def values_of(messages: Sequence[Message]) -> list[bytes | None]:
    return list(_asked(messages, "value"))


def offsets_of(messages: Sequence[Message]) -> np.ndarray:
    """int64."""
    return np.fromiter(_asked(messages, "offset"), np.int64, len(messages))


def timestamps_of(messages: Sequence[Message]) -> np.ndarray:
    """Kafka's, in ms; int64."""
    return np.fromiter(map(itemgetter(1), _asked(messages, "timestamp")), np.int64, len(messages))


def _asked(messages: Sequence[Message], method: str) -> Iterator[Any]:
    """What a method says of each: of their class, for to bind it to each of them takes as long as it does."""
    return map(getattr(type(messages[0]), method), messages) if messages else iter(())

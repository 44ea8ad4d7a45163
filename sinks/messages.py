"""What the loader needs of a record as the client gives it."""

from collections.abc import Sequence
from typing import Any, Final, Protocol

Headers = Sequence[tuple[str, bytes | None]]
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

    Always ask here: the client (2.13) raises SystemError for such a name, and on being asked again answers with a tuple that
    holds a null pointer, which ends the process.
    """
    try:
        found = message.headers()
    except (SystemError, UnicodeDecodeError):
        message.set_headers(_UNREADABLE)
        return None
    return None if found is _UNREADABLE else found or ()

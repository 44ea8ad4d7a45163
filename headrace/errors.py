"""Every error that headrace raises on purpose.

    HeadraceError               exit status 1: started, then failed
    ├── UsageError              exit status 2: nothing started, nothing shipped
    │   └── ConfigError         a configuration file, at a line and a key
    ├── StorageError            a disk or a store refused, or holds what it must not
    │   ├── CorruptError        bytes that cannot be what we wrote
    │   ├── NoRoomError         a disk that is full, or a quota that is used up: what is there is as sound as it was
    │   └── UndecidedError      a write that may have happened, or may yet: nothing that it names may be deleted
    ├── TableError              some of a loader's tables did not land, and the others did
    ├── VersionError            written by a newer headrace than this one (design D10)
    └── PeerError               a peer that cannot be reached, or answers against its protocol
        └── RefusedError        a peer that understood and said no: asking again is useless

A message says what, where and what to do, in one line: it is what the user sees (a traceback comes with `--debug` only).
Expected outcomes in the broker are wire error codes, not exceptions.
"""

from typing import ClassVar


class HeadraceError(Exception):
    """Base of all errors raised on purpose; `str(error)` is one line for people."""

    exit_status: ClassVar[int] = 1
    retriable: ClassVar[bool] = False


class UsageError(HeadraceError):
    """The user asked for something that cannot be started."""

    exit_status = 2


class ConfigError(UsageError):
    """A configuration file, variable or `--set` is wrong; the message names the file, the line and the key."""


class StorageError(HeadraceError):
    """A disk or a store failed."""


class CorruptError(StorageError):
    """Stored bytes are damaged, or break an invariant of their format."""


class NoRoomError(StorageError):
    """A disk has no room for what has to be written; it may be tried again once somebody has made some."""


class UndecidedError(StorageError):
    """A write was not answered, and the store cannot be asked any more: it may have happened, or may happen yet."""


class TableError(HeadraceError):
    """Some tables did not land; the message names each, and why. The others did."""


class VersionError(HeadraceError):
    """Stored by a newer version than this one; it is refused, never guessed at."""


class PeerError(HeadraceError):
    """A peer is unreachable or breaks its protocol."""

    retriable = True


class RefusedError(PeerError):
    """A peer understood and refused; `status` is its HTTP status, `code` its own error code."""

    retriable = False

    def __init__(self, message: str, *, status: int, code: int) -> None:
        super().__init__(message)
        self.status, self.code = status, code

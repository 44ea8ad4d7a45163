"""Every error that headrace raises on purpose.

    HeadraceError               exit status 1: started, then failed
    ├── UsageError              exit status 2: nothing started, nothing shipped
    │   ├── ConfigError         a configuration file, at a line and a key
    │   ├── ArgumentError       a call from Python with a value that it cannot take, or after `close`: a ValueError, too
    │   ├── ArgumentTypeError   a call from Python with a thing of another type: a TypeError, too
    │   └── MissingError        a folder that is not there: a FileNotFoundError, too
    ├── StorageError            a disk or a store refused, or holds what it must not
    │   ├── CorruptError        bytes that cannot be what we wrote
    │   ├── NoRoomError         a disk that is full, or a quota that is used up: what is there is as sound as it was
    │   └── UndecidedError      a write that may have happened, or may yet: nothing that it names may be deleted
    ├── OvertakenError          another run has made this output meanwhile: it stands, and ours came to nothing
    ├── TableError              some of a loader's tables did not land, and the others did
    ├── VersionError            written by a newer headrace than this one (design D10)
    └── PeerError               a peer that cannot be reached, or answers against its protocol
        └── RefusedError        a peer that understood and said no: asking again is useless

A message says what, where and what to do, in one line: it is what the user sees (a traceback comes with `--debug` only).
A configuration may have several faults, each with a line of its own.
Expected outcomes in the broker are wire error codes, not exceptions.
"""

from dataclasses import dataclass
from typing import ClassVar


class HeadraceError(Exception):
    """Base of all errors raised on purpose; `str(error)` is one line for people."""

    exit_status: ClassVar[int] = 1
    retriable: ClassVar[bool] = False

    @property
    def lines(self) -> tuple[str, ...]:
        """All that it says, a line each."""
        return (str(self),)


class UsageError(HeadraceError):
    """The user asked for something that cannot be started."""

    exit_status = 2


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a configuration; `str(fault)` is a line for people.

    `where` is `file:line`, a variable or `--set key`; `key` is dotted, and empty where the whole is meant.
    """

    where: str
    key: str
    what: str
    do: str

    @classmethod
    def told(cls, where: str, key: str, message: str) -> "Fault":
        """One whose message is `what; what to do`, as errors are written here."""
        what, _, do = message.partition("; ")
        return cls(where, key, what, do)

    @property
    def place(self) -> str:
        """Where it is, in one text: `file:line: key`."""
        said = self.where.endswith(f" {self.key}")  # `--set key`
        return ": ".join(filter(None, [self.where, "" if said else self.key]))

    def __str__(self) -> str:
        told = ": ".join(filter(None, [self.place, self.what]))
        return f"{told}; {self.do}" if self.do else told


class ConfigError(UsageError):
    """A configuration file, variable or `--set` is wrong; each line names the file, the line and the key.

    Args:
        said: what is wrong, one or more; a text is `what; what to do`.
    """

    def __init__(self, *said: str | Fault) -> None:
        super().__init__(*said)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """All that is wrong."""
        return tuple(each if isinstance(each, Fault) else Fault.told("", "", each) for each in self.args)

    @property
    def lines(self) -> tuple[str, ...]:
        """A line for each fault."""
        return tuple(str(each) for each in self.args)

    def __str__(self) -> str:
        first, *others = self.lines
        return f"{first} (and {len(others)} more)" if others else first


class ArgumentError(UsageError, ValueError):
    """A call from Python was given a value that it cannot take, or came after `close`."""


class ArgumentTypeError(UsageError, TypeError):
    """A call from Python was given a thing of another type."""


class MissingError(UsageError, FileNotFoundError):
    """A folder that was named is not there."""


class StorageError(HeadraceError):
    """A disk or a store failed."""


class CorruptError(StorageError):
    """Stored bytes are damaged, or break an invariant of their format."""


class NoRoomError(StorageError):
    """A disk has no room for what has to be written; it may be tried again once somebody has made some."""


class UndecidedError(StorageError):
    """A write was not answered, and the store cannot be asked any more: it may have happened, or may happen yet."""


class OvertakenError(HeadraceError):
    """Another run of a job has replaced the same slice meanwhile; its output stands, and nothing of ours is in the table."""


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

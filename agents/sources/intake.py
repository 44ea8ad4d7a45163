"""What a pushed source knows of the agent: where lines go, and nothing else (docs/adr/0038).

Sources are coroutines on one loop, in a thread beside the one that ships. A source takes from its peer only as fast as `put`
returns: that is all the back-pressure there is.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol

from headrace.agents.sources.doors import Door

NO_FIELDS: Final[Mapping[str, str]] = MappingProxyType({})


class Pushed(NamedTuple):
    """One line as a peer pushed it. (One is made a line: a frozen dataclass takes three times as long to make.)

    `line` is its bytes without the newline; `received_ms` wall time. `source` says where it came from, as a URL
    (`syslog+tcp://192.0.2.7`); `host` and `service` as the protocol names them (None: the agent's host, the input's service).
    `event_time_us` and `fields` are what the protocol says beside the line. `cursor` is where the source goes on after it.
    """

    line: bytes
    received_ms: int
    source: str
    host: str | None = None
    service: str | None = None
    event_time_us: int | None = None
    fields: Mapping[str, str] = NO_FIELDS
    cursor: str = ""


def size_of(lines: Sequence[Pushed]) -> int:
    """How long the texts of lines and of their fields are."""
    beside = [each.fields for each in lines if each.fields]
    texts = sum(sum(map(len, fields)) + sum(map(len, fields.values())) for fields in beside)
    return sum(len(each.line) for each in lines) + texts


class Intake(Protocol):
    """One input's way into its spool."""

    async def put(self, lines: Sequence[Pushed]) -> None:
        """Return once all lines are durable, in this order.

        While the spool is full it waits (`block`), or drops and counts them (`drop_newest`).
        """

    def began(self) -> None:
        """The source takes in from now on. The agent's start waits for it, so that what fails at once is told at once."""

    @property
    def full(self) -> bool:
        """Whether `put` would wait now: who can tell its peer to come again later does so."""

    @property
    def cursor(self) -> str:
        """The cursor of the last durable line; empty where there is none."""


class Source(Protocol):
    """One pushed input."""

    @property
    def doors(self) -> Sequence[Door]:
        """Where it listens: nowhere, where a source does not say otherwise."""
        return ()

    async def prepare(self) -> None:
        """Get what it needs to begin: doors opened, certificates read, programs found.

        Raises:
            UsageError: it cannot begin.
        """

    async def run(self, intake: Intake) -> None:
        """Take in until cancelled, or until the input has ended (a pipe, a finished command); what is not prepared is.

        A source that fails is made anew and run again. One that is cancelled puts what it has taken from its peer before it
        ends.

        Raises:
            UsageError: it cannot begin (a port is taken, a command is not there).
        """

    def become(self, other: "Source") -> bool:
        """Go on as another of this kind would, which is prepared and has not run: at its doors, by its keys, with the peers
        that are connected. False where that cannot be: this one has to end, and the other begins."""

    @property
    def ports(self) -> Mapping[str, int]:
        """What it listens on once it runs, by transport."""
        return {}

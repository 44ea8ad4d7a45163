"""When work on one table fails: whose trouble that is, and when the table begins again. Pure; `Landing` carries it out.

A loader has many tables, and the trouble of one is that one's: the others go on landing. A table is in one of these states:

    closed ──opens──> open ──fails──> resting ──its rest is over──> closed …
                                         └─ with `--once` it is *left*: not tried again, and the run's exit status is 1

Nothing that is in memory is believed after a failure, wherever it came from, so it makes no difference in which line that was:

| what there may be                              | what becomes of it                                                     |
|------------------------------------------------|------------------------------------------------------------------------|
| rows held, spilled, in open files; quarantine  | dropped; temporary files have no name, others are the sweeper's        |
| files that are finished, no put sent           | deleted after a new fold (`commit.give_up`), else the sweeper's        |
| a put that was sent, and not answered          | it may have won, or win yet: nothing that its record names is deleted  |
| the fold, half gone on, or used up by a commit | dropped: the table is folded anew                                      |
| offsets that were read; records that wait      | dropped: reading begins at the ends of the new fold                    |
| the attempt's name                             | never used again; the log fences by it and by what ranges begin with   |
| partitions                                     | are read no more; in the group they stay ours, since whoever had them  |
|                                                | would meet the same                                                    |

So a table begins again as after kill -9 of its loader, at whatever step: what tests/sim/table does all the time.

| error                                  | the table rests          | it is told as trouble                               |
|----------------------------------------|--------------------------|-----------------------------------------------------|
| PeerError: Kafka, the registry         | 1 s                      | no: it is no table's; lag tells                     |
| StorageError: the store                | 5 s                      | from the third in a row on                          |
| CorruptError, VersionError, any other  | 1 s, doubled up to 5 min | at once, with a traceback of what nobody foresaw    |
| no memory, or no Exception at all      | –                        | the process ends                                    |

*In a row* ends when the table lands something, or has been open for a minute with nothing to land.
"""

from dataclasses import dataclass
from typing import Final

from headrace.clock import MonotonicMs, WallMs
from headrace.errors import CorruptError, HeadraceError, PeerError, StorageError

PATIENCE_MS: Final = 30_000
"""How long `--once` waits for a cluster, a partition or a registry that does not answer."""
PEER_REST_MS: Final = 1000
STORE_REST_MS: Final = 5000
FIRST_REST_MS: Final = 1000
LONGEST_REST_MS: Final = 300_000
TOLD_FROM: Final = 3
"""Failures of the store in a row from which on they are told: one heals by itself."""
PROOF_MS: Final = 60_000
"""So long open with nothing to land, and a table is well again."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a table does not land: the last error, how many there were in a row, and since when (wall time)."""

    error: str
    failures: int
    since_ms: WallMs


def is_of_peers(error: Exception) -> bool:
    """Whether Kafka or the registry is to blame, and no table."""
    return isinstance(error, PeerError)


def is_of_store(error: Exception) -> bool:
    """Whether a store refused or did not answer, which may heal by itself."""
    return isinstance(error, StorageError) and not isinstance(error, CorruptError)


def said(error: Exception) -> str:
    """What an error says; one that nobody foresaw, with what it is."""
    return str(error) if isinstance(error, HeadraceError) else f"{type(error).__name__}: {error}"


@dataclass(slots=True)
class Recovery:
    """One table's failures. The loop writes them; other threads read `trouble`, whole."""

    trouble: Trouble | None = None
    is_left: bool = False
    """With `--once`: it has failed and is not tried again."""
    _failures: int = 0
    _stops: int = 0
    """How many of them were not the store's."""
    _since_ms: WallMs | None = None
    _opened_ms: MonotonicMs | None = None

    def failed(self, error: Exception, now_ms: WallMs) -> int:
        """Note an error; for how long the table rests (ms)."""
        if is_of_peers(error):
            return PEER_REST_MS
        since_ms = self._since_ms = now_ms if self._since_ms is None else self._since_ms
        self._failures += 1
        of_store = is_of_store(error)
        self._stops += not of_store
        if self.trouble is not None or not of_store or self._failures >= TOLD_FROM:
            self.trouble = Trouble(said(error), self._failures, since_ms)
        return STORE_REST_MS if of_store else min(LONGEST_REST_MS, FIRST_REST_MS << min(self._stops - 1, 16))

    def opened(self, now_ms: MonotonicMs) -> None:
        """The table is open again, which proves nothing yet."""
        self._opened_ms = now_ms

    def idles(self, now_ms: MonotonicMs) -> None:
        """The table is open, and there is nothing to land."""
        if self._failures and self._opened_ms is not None and now_ms - self._opened_ms >= PROOF_MS:
            self.is_well()

    def is_well(self) -> None:
        """The table has landed something, or is not this loader's any more."""
        self.trouble, self._failures, self._stops, self._since_ms = None, 0, 0, None

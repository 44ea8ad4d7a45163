"""`headrace audit --recount`: after the verdict, the files of the same windows are counted again; with progress for people."""

import sys
from typing import TYPE_CHECKING, Final

from headrace.errors import CorruptError, StorageError
from headrace.jobs.audit.auditor import Auditor
from headrace.jobs.audit.gate import GateVerdict
from headrace.jobs.audit.recount_report import print_recount, worst
from headrace.jobs.audit.recounting import State, TopicRecount

if TYPE_CHECKING:
    from headrace.sinks.config import LoadConfig

EXIT_STATUS: Final[dict[State, int]] = {"same": 0, "differs": 3, "unknown": 4, "expired": 4}


def recounted(auditor: Auditor, judged: GateVerdict, format_: str, broker: "LoadConfig | None") -> int:
    """Count again what a verdict was given of, and print it; the exit status: 0 all the same, 3 it differs, 4 else.

    Args:
        broker: where events of what differs are looked up, if anywhere.
    Raises:
        PeerError: the broker or its registry does not answer.
    """
    recounts = []
    for verdict in judged.topics:
        shown = _Progress(verdict.topic)
        try:
            done = auditor.recount(verdict, since_ms=judged.since_ms, until_ms=judged.until_ms, progress=shown.at)
            recounts.append(done)
            if broker is not None and (table := auditor.table(verdict.topic)) is not None:
                from headrace.jobs.audit.in_broker import compare_with_broker

                compare_with_broker(auditor.root, table, done, broker)
        except (CorruptError, StorageError) as error:
            recounts.append(TopicRecount(verdict.topic, remarks=[f"it cannot be counted: {error}"], state="differs"))
        finally:
            shown.clear()
    print_recount(recounts, format_)
    return EXIT_STATUS[worst(recounts)]


class _Progress:
    """Rows counted, on one line of stderr, where a person is looking."""

    def __init__(self, topic: str) -> None:
        self._topic, self._is_shown = topic, False

    def at(self, done: int, of: int) -> None:
        if sys.stderr.isatty():
            self._is_shown = True
            share = f" ({done / of:.0%})" if of else ""
            print(f"\r{self._topic}: {done:,} of {of:,} rows counted{share}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._is_shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)

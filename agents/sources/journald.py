"""The journald input: a journal by its cursor, which lies in the spool beside the entry's line.

`journalctl` reads, as a child (docs/adr/0044). Since systemd 251 or so `--follow` shows nothing of boots before the newest,
whatever else is said. So everything there is is read without it first, up to the end, and only from there on is followed.
"""

import asyncio
import contextlib
import logging
import os
import shutil
from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING, Final

from headrace.agents.sources import metrics
from headrace.agents.sources.children import die_with
from headrace.agents.sources.intake import Intake, Pushed, Source
from headrace.agents.sources.journal_entries import Missing, pushed
from headrace.agents.sources.journal_export import Entry, ExportError, ExportReader
from headrace.agents.sources.own_journal import OwnJournal
from headrace.clock import Clock
from headrace.errors import PeerError, UsageError

if TYPE_CHECKING:
    from headrace.agents.sources.journald_keys import JournaldKeys

logger = logging.getLogger(__name__)
_READ_BYTES: Final = 64 * 1024
_ERROR_BYTES: Final = 2000  # of what journalctl complains of


class JournaldSource(Source):
    """One journald input."""

    def __init__(self, keys: "JournaldKeys", clock: Clock) -> None:
        self._keys, self._clock = keys, clock
        self._missing = None if _filters(keys) else Missing()  # what is filtered out is missing as well
        self._own = OwnJournal.of_process(os.environ)
        self._source = keys.source

    async def prepare(self) -> None:
        """See that it can be read.

        Raises:
            UsageError: there is no journalctl.
        """
        if shutil.which(self._keys.journalctl) is None:
            raise UsageError(f"journald: no program {self._keys.journalctl}; install systemd's, or name it (journalctl)")

    def become(self, other: "Source") -> bool:
        """Go on as it is, where the other would read the very same."""
        return isinstance(other, JournaldSource) and other._keys == self._keys

    async def run(self, intake: Intake) -> None:
        """Take in until cancelled.

        Raises:
            UsageError: there is no journalctl.
            PeerError: it ended; what it said is told.
        """
        await self.prepare()
        intake.began()
        at = intake.cursor
        from_the_end = not at and self._keys.start == "end"
        if at:
            at = await self._go_on(intake, at)
        elif not from_the_end:
            at = await self._take_in([], intake, "") or ""
        await self._take_in(["--follow", "--lines=0" if from_the_end else "--no-tail", *_from(at)], intake, at)
        raise PeerError("journald: journalctl ended, though it was to follow")

    async def _go_on(self, intake: Intake, at: str) -> str:
        """Take in what comes after a cursor, up to the journal's end; the last cursor then."""
        if await self._is_there(at):
            return await self._take_in(_from(at), intake, at) or at
        metrics.journal_cursors_gone.inc()
        logger.warning(
            "journald: the last entry that was taken in is gone, and others after it may be; going on with the oldest",
            extra={"cursor": at, "hint": "vacuumed? SystemMaxUse and MaxRetentionSec of journald.conf say how much is kept"},
        )
        last = await self._take_in(_from(at), intake, at)
        if last is None:  # a journal that was made anew, by a clock that was set back
            last = await self._take_in([], intake, "")
        return last or ""

    async def _is_there(self, at: str) -> bool:
        """Whether the journal has that very entry, whatever is filtered."""
        async with contextlib.aclosing(self._entries([*_from(at), "--lines=1", *_where(self._keys)])) as found:
            async for entries in found:
                return entries[0].text("__CURSOR") == at
        return False

    async def _take_in(self, arguments: Sequence[str], intake: Intake, at: str) -> str | None:
        """Take in all that journalctl finds, but for the entry at `at`; the last one's cursor, None if there was none."""
        last: str | None = None
        async with contextlib.aclosing(self._entries([*arguments, *_where(self._keys), *_filters(self._keys)])) as found:
            async for entries in found:
                self._tell_missing(entries)
                lines = [line for line in self._lines(entries) if not at or line.cursor != at]
                if lines:
                    await intake.put(lines)
                last = entries[-1].text("__CURSOR") or last
        return last

    def _tell_missing(self, entries: Sequence[Entry]) -> None:
        """Count what was vacuumed before it was read: journalctl passes over it."""
        if self._missing is None:
            return
        count = sum(map(self._missing.before, entries))
        if count:
            metrics.journal_missing.inc(count)
            logger.warning(
                "journald: entries are missing: vacuumed before they were taken in, or in files that the agent may not read",
                extra={"entries": count, "before": entries[-1].text("__CURSOR")},
            )

    async def _entries(self, arguments: Sequence[str]) -> AsyncGenerator[list[Entry], None]:
        """Run journalctl to its end.

        Raises:
            PeerError: it fails, or writes something else.
        """
        process = await asyncio.create_subprocess_exec(
            self._keys.journalctl,
            "--output=export",
            "--quiet",
            "--no-pager",
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=_READ_BYTES,
            preexec_fn=die_with(os.getpid()),
        )
        assert process.stdout is not None
        assert process.stderr is not None
        complaints = asyncio.ensure_future(_last_bytes(process.stderr))
        reader = ExportReader()
        try:
            while data := await process.stdout.read(_READ_BYTES):
                if entries := list(reader.feed(data)):
                    yield entries
            said, status = await complaints, await process.wait()
        except ExportError as error:
            raise PeerError(f"journald: what journalctl writes is not understood: {error}") from error
        finally:
            complaints.cancel()
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        if status != 0:
            raise PeerError(f"journald: journalctl ended with {status}: {said}")

    def _lines(self, entries: Sequence[Entry]) -> list[Pushed]:
        for entry in entries:
            if entry.message_cut_bytes:
                metrics.journal_cut_bytes.labels("MESSAGE").inc(entry.message_cut_bytes)
            if entry.others_cut_bytes:
                metrics.journal_cut_bytes.labels("others").inc(entry.others_cut_bytes)
        now_ms = self._clock.wall_ms()
        return [pushed(entry, now_ms, self._source) for entry in entries if self._own is None or not self._own.wrote(entry)]


def _from(cursor: str) -> list[str]:
    return [f"--cursor={cursor}"] if cursor else []


def _where(keys: "JournaldKeys") -> list[str]:
    """Which journal."""
    where = [] if keys.directory is None else [f"--directory={keys.directory}"]
    return where if keys.namespace is None else [*where, f"--namespace={keys.namespace}"]


def _filters(keys: "JournaldKeys") -> list[str]:
    """Which of its entries."""
    filters = [f"--unit={unit}" for unit in keys.units] + [f"--identifier={name}" for name in keys.identifiers]
    if keys.priority is not None:
        filters.append(f"--priority={keys.priority}")
    return [*filters, *keys.matches]


async def _last_bytes(stream: asyncio.StreamReader) -> str:
    """The last of what is said on a stream, on one line."""
    said = b""
    while data := await stream.read(_READ_BYTES):
        said = (said + data)[-_ERROR_BYTES:]
    return " ".join(said.decode("utf-8", "replace").split())

"""Who waits for a partition to grow: long polls for bytes, producers for the high watermark. Owned by the event loop."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True, eq=False)
class _Poll:
    """A long poll: done when the partitions it watches have grown by `needed` bytes, or one of them is gone."""

    needed: int
    done: asyncio.Future[None]


@dataclass(slots=True, eq=False)
class _Watched:
    polls: set[_Poll] = field(default_factory=set)
    commits: list[tuple[int, asyncio.Future[None]]] = field(default_factory=list)


class Waiters:
    """Waiting calls by log; whoever changes a log says so through `grown`, `committed` and `gone`."""

    def __init__(self) -> None:
        self._watched: dict[Any, _Watched] = {}
        self.is_closed = False

    def close(self) -> None:
        """End every long poll, and those that come, at once: the broker stops."""
        self.is_closed = True
        for watched in self._watched.values():
            for poll in watched.polls:
                if not poll.done.done():
                    poll.done.set_result(None)

    async def bytes_arrive(self, logs: Iterable[Any], needed: int, timeout_ms: int) -> None:
        """Return when `logs` have together grown by `needed` bytes that may be read, or one is gone, or after `timeout_ms`."""
        if self.is_closed:
            return
        logs = list(logs)
        poll = _Poll(needed, asyncio.get_running_loop().create_future())
        for log in logs:
            self._watched.setdefault(log, _Watched()).polls.add(poll)
        try:
            await asyncio.wait((poll.done,), timeout=timeout_ms / 1000)
        finally:
            poll.done.cancel()
            for log in logs:
                self._remove_poll(log, poll)

    async def high_watermark_reaches(self, log: Any, offset: int) -> None:
        """Return when the log's high watermark is at least `offset`, or the log is gone."""
        if log.high_watermark >= offset:
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._watched.setdefault(log, _Watched()).commits.append((offset, done))
        await done

    def grown(self, log: Any, size_bytes: int) -> None:
        """`size_bytes` more of `log` may be read; its high watermark has moved."""
        watched = self._watched.get(log)
        if watched is None:
            return
        for poll in watched.polls:
            poll.needed -= size_bytes
            if poll.needed <= 0 and not poll.done.done():
                poll.done.set_result(None)
        if watched.commits:
            high_watermark = log.high_watermark
            for offset, done in watched.commits:
                if offset <= high_watermark and not done.done():
                    done.set_result(None)
            watched.commits = [entry for entry in watched.commits if entry[0] > high_watermark]
            self._forget_if_idle(log, watched)

    def gone(self, log: Any) -> None:
        """The log is deleted: let all who wait look again."""
        watched = self._watched.pop(log, None)
        if watched is None:
            return
        for done in [poll.done for poll in watched.polls] + [done for _, done in watched.commits]:
            if not done.done():
                done.set_result(None)

    def _remove_poll(self, log: Any, poll: _Poll) -> None:
        watched = self._watched.get(log)
        if watched is not None:
            watched.polls.discard(poll)
            self._forget_if_idle(log, watched)

    def _forget_if_idle(self, log: Any, watched: _Watched) -> None:
        if not watched.polls and not watched.commits:
            del self._watched[log]

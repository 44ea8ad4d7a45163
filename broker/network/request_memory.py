"""The memory of all requests: bytes received and not yet answered, and answers that their clients do not read. Pure.

Up to three quarters of `queued.max.request.bytes` nobody is restricted. Beyond them, *tight*, a connection that holds more than
a megabyte is read only when its turn has come, one at a time, so that it can be finished; what is small goes on. Whoever does
not progress while it is tight is dropped (the server looks once a second), and above the limit whoever holds most: so memory
always comes free again, whatever peers do.
"""

from typing import Protocol

SMALL_BYTES = 1 << 20


class Holder(Protocol):
    """A connection, as the memory sees it."""

    def memory_is_free(self) -> None:
        """It may look again whether it may be read."""
        ...


class RequestMemory:
    """Counts what connections hold, and says who may take more."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._tight_bytes = limit_bytes * 3 // 4
        self.held_bytes = 0
        self._waiting: dict[Holder, None] = {}  # in the order in which they came
        self._first: Holder | None = None  # the one that may go on while it is tight

    @property
    def is_tight(self) -> bool:
        return self.held_bytes >= self._tight_bytes

    @property
    def is_over(self) -> bool:
        """Whether somebody has to be dropped."""
        return self.held_bytes > self._limit_bytes

    def changed(self, by_bytes: int) -> None:
        """Somebody holds so much more, or less."""
        self.held_bytes += by_bytes
        if self._waiting and not self.is_tight:
            waiting, self._waiting, self._first = list(self._waiting), {}, None
            for holder in waiting:
                holder.memory_is_free()

    def may_grow(self, holder: Holder, held_bytes: int) -> bool:
        """Whether one that holds so much may be read; if not, it is told later."""
        if held_bytes <= SMALL_BYTES or not self.is_tight:
            return True
        if self._first is None:
            self._first = holder
        if self._first is holder:
            return True
        self._waiting[holder] = None
        return False

    def finished(self, holder: Holder) -> None:
        """Its frame has come, or it is gone: the next one may go on."""
        self._waiting.pop(holder, None)
        if self._first is holder:
            self._first = next(iter(self._waiting), None)
            if self._first is not None:
                del self._waiting[self._first]
                self._first.memory_is_free()

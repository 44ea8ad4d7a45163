"""How long the answer to a failed login is held back. Pure, bounded in memory.

`connection.failed.authentication.delay.ms` is the delay of a first failure; it doubles with each further one of the same
address or the same name, up to fifty times as much, and is forgotten after ten quiet minutes. Only failures wait: who has the
right password is never held back by those who guess at it.
"""

from collections import OrderedDict

_LONGEST = 50  # times the first delay
_FORGOTTEN_MS = 600_000
_REMEMBERED = 10_000  # addresses and names; those that failed longest ago are forgotten first
_NAME_CHARACTERS = 100  # of a claimed name: it is the peer's, and may be long


class FailedLogins:
    """What is remembered of failures, by address and by name."""

    def __init__(self, first_delay_ms: int) -> None:
        self._first_delay_ms = first_delay_ms
        self._failures: OrderedDict[tuple[str, str], tuple[int, int]] = OrderedDict()  # → (how many, when the last)

    def failed(self, address: str, name: str | None, *, now_ms: int) -> int:
        """Count a failure; the ms for which its answer is to be held back."""
        keys = [("address", address)] + ([] if name is None else [("name", name[:_NAME_CHARACTERS])])
        count = max(self._count(key, now_ms) for key in keys)
        return int(min(_LONGEST, 2 ** min(count - 1, 10)) * self._first_delay_ms)

    def succeeded(self, name: str) -> None:
        """Forget the failures of a name. Those of an address stay: whoever guesses may have one account."""
        self._failures.pop(("name", name[:_NAME_CHARACTERS]), None)

    def __len__(self) -> int:
        return len(self._failures)

    def _count(self, key: tuple[str, str], now_ms: int) -> int:
        count, last_ms = self._failures.pop(key, (0, now_ms))
        count = 1 if now_ms - last_ms > _FORGOTTEN_MS else count + 1
        self._failures[key] = (count, now_ms)
        if len(self._failures) > _REMEMBERED:
            self._failures.popitem(last=False)
        return count

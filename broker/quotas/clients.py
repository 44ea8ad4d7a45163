"""How fast each client goes that has a quota, and for how long it must be left unread when it goes faster. Pure.

Only clients that a quota binds are measured, and nothing is kept of one that was silent for as long as a rate looks back:
what a new measure would say is the same. Beyond `MAX_MEASURED` the one measured longest gives way, so clients that make up ids
cost no memory; by doing so they escape quotas by client id, as in Kafka, but not those by user.
"""

from headrace.broker.quotas.book import Limit, QuotaBook
from headrace.broker.quotas.entities import CONNECTION_CREATION_RATE, REQUEST_PERCENTAGE
from headrace.broker.quotas.rate import Rate, Windows

MAX_MEASURED = 5000
_PERCENT_PER_NS = 100 / 1e9


class ClientQuotas:
    """The measures of all clients. Times are monotonic ms."""

    def __init__(self, windows: Windows) -> None:
        self.book = QuotaBook()
        self._windows = windows
        self._rates: dict[tuple[str, tuple[str, str]], Rate] = {}
        self._swept_ms = 0

    @property
    def measured(self) -> int:
        """How many clients are measured, by kind of quota."""
        return len(self._rates)

    def record(self, key: str, user: str, client_id: str, value: float, now_ms: int) -> int:
        """Count what a client did; for how long it is to be throttled, in ms."""
        limit = self.book.limit(key, user, client_id)
        return 0 if limit is None else self._record(key, limit, value, now_ms)

    def record_time(self, user: str, client_id: str, spent_ns: int, now_ms: int) -> int:
        """Count time on the event loop. Throttled for one window at most: what comes next is looked at again (KIP-124)."""
        throttle_ms = self.record(REQUEST_PERCENTAGE, user, client_id, spent_ns * _PERCENT_PER_NS, now_ms)
        return min(throttle_ms, self._windows.size_ms)

    def record_connection(self, address: str, now_ms: int) -> int:
        """Count a connection from an address; for how long it is to be left unserved (KIP-612).

        One that is refused does not count, or an address that tries all the time would never be served again. The delay is one
        window at most.
        """
        limit = self.book.ip_limit(CONNECTION_CREATION_RATE, address)
        if limit is None:
            return 0
        throttle_ms = self._record(CONNECTION_CREATION_RATE, limit, 1, now_ms)
        if throttle_ms:
            self._rate(CONNECTION_CREATION_RATE, limit, now_ms).record(-1, now_ms)
        return min(throttle_ms, self._windows.size_ms)

    def take_back(self, key: str, user: str, client_id: str, value: float, now_ms: int) -> bool:
        """Count what was recorded as not done; whether that leaves nothing recorded."""
        limit = self.book.limit(key, user, client_id)
        if limit is None:
            return True
        rate = self._rate(key, limit, now_ms)
        rate.record(-value, now_ms)
        return rate.per_second(now_ms) <= 0

    def most_in_a_burst(self, key: str, user: str, client_id: str) -> float | None:
        """More than this at once is throttled, whatever went before; None where no quota binds."""
        limit = self.book.limit(key, user, client_id)
        return None if limit is None else limit.bound * (self._windows.count - 1) * self._windows.size_ms / 1000

    def sweep(self, now_ms: int) -> None:
        """Forget who was silent for long; once in a while."""
        if now_ms - self._swept_ms >= self._windows.span_ms:
            self._swept_ms = now_ms
            self._rates = {key: rate for key, rate in self._rates.items() if not rate.is_forgotten(now_ms)}

    def _record(self, key: str, limit: Limit, value: float, now_ms: int) -> int:
        rate = self._rate(key, limit, now_ms)
        rate.record(value, now_ms)
        return rate.throttle_ms(limit.bound, now_ms)

    def _rate(self, key: str, limit: Limit, now_ms: int) -> Rate:
        rate = self._rates.get((key, limit.owner))
        if rate is None:
            self.sweep(now_ms)
            if len(self._rates) >= MAX_MEASURED:
                del self._rates[next(iter(self._rates))]
            rate = self._rates[key, limit.owner] = Rate(self._windows)
        return rate

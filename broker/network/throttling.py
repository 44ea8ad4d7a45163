"""What an answered request counts against its client's quotas, and how a client that goes too fast is told (KIP-219).

The answer goes out at once and names the delay; then the connection is not read until the delay is over. Counted as in Kafka's
KafkaApis: Produce by the size of its request, Fetch by that of its answer, and every request by the time it took on the event
loop until it was answered or had to wait. A Fetch over a quota is answered without records, and these do not count.
"""

import time
from typing import Any

from headrace.broker.handlers.api import Api, Charged, Encoded, RequestContext, Response
from headrace.broker.quotas.clients import ClientQuotas
from headrace.broker.quotas.entities import CONSUMER_BYTE_RATE, PRODUCER_BYTE_RATE
from headrace.broker.session import Session
from headrace.clock import Clock

_FIELD_BYTES = 4


class Throttler:
    """Stands between answers and connections; a connection that must not be read learns it from its session."""

    def __init__(self, quotas: ClientQuotas, clock: Clock) -> None:
        self._quotas, self._clock = quotas, clock

    @property
    def binds(self) -> bool:
        """Whether any quota is set: else there is nothing to count."""
        return self._quotas.book.are_set

    def answered(self, api: Api, context: RequestContext, size_bytes: int, response: Response, spent_ns: int) -> Response:
        """Count a request of so many bytes, which kept the loop for `spent_ns`; its answer, with the delay in it.

        A request that is not answered (acks=0) could not be told of a delay: it counts by its bytes alone.
        """
        if api.charged is Charged.APART or not self._quotas.book.are_set:
            return response
        user, client_id, now_ms = _who(context, self._clock)
        throttle_ms = 0 if response is None else self._quotas.record_time(user, client_id, spent_ns, now_ms)
        if api.charged is Charged.BYTES:
            throttle_ms = max(throttle_ms, self._quotas.record(PRODUCER_BYTE_RATE, user, client_id, size_bytes, now_ms))
        if not throttle_ms:
            return response
        _mute(context.session, throttle_ms, now_ms)
        return _telling(response, throttle_ms)

    def fetched(self, context: RequestContext, size_bytes: int, since_ns: int) -> tuple[int, bool]:
        """Count a Fetch whose answer has so many bytes and was worked on since then (`time.perf_counter_ns`).

        Returns:
            The delay in ms, and whether the records may go out. With a delay they may not, except that a batch larger than the
            quota allows in any burst goes out when nothing went before it: Kafka would withhold it for ever.
        """
        if not self._quotas.book.are_set:
            return 0, True
        user, client_id, now_ms = _who(context, self._clock)
        throttle_ms = max(
            self._quotas.record_time(user, client_id, time.perf_counter_ns() - since_ns, now_ms),
            self._quotas.record(CONSUMER_BYTE_RATE, user, client_id, size_bytes, now_ms),
        )
        if not throttle_ms:
            return 0, True
        _mute(context.session, throttle_ms, now_ms)
        nothing_left = self._quotas.take_back(CONSUMER_BYTE_RATE, user, client_id, size_bytes, now_ms)
        burst = self._quotas.most_in_a_burst(CONSUMER_BYTE_RATE, user, client_id)
        if nothing_left and burst is not None and size_bytes > burst:
            self._quotas.record(CONSUMER_BYTE_RATE, user, client_id, size_bytes, now_ms)
            return throttle_ms, True
        return throttle_ms, False

    def most_to_fetch(self, context: RequestContext) -> float | None:
        """The most bytes that an answer may have without being throttled, whatever went before; None where no quota binds."""
        if not self._quotas.book.are_set:
            return None
        return self._quotas.most_in_a_burst(CONSUMER_BYTE_RATE, context.session.principal.name, context.client_id or "")


def _who(context: RequestContext, clock: Clock) -> tuple[str, str, int]:
    return context.session.principal.name, context.client_id or "", clock.monotonic_ms()


def _mute(session: Session, throttle_ms: int, now_ms: int) -> None:
    session.muted_until_ms = max(session.muted_until_ms, now_ms + throttle_ms)
    session.throttle_ms = throttle_ms


def _telling(response: Response, throttle_ms: int) -> Response:
    """The answer with the delay in it, where this version of it has a place for that."""
    if not isinstance(response, Encoded):
        return None if response is None else {**response, "throttle_time": throttle_ms}
    if response.throttle_at is None:
        return response
    parts: list[Any] = list(response.parts)
    index = 0 if response.throttle_at >= 0 else -1
    patched = bytearray(parts[index])
    at = response.throttle_at % len(patched)
    patched[at : at + _FIELD_BYTES] = throttle_ms.to_bytes(_FIELD_BYTES, "big")
    parts[index] = bytes(patched)
    return Encoded(parts)

"""Fetches partitions from their leaders as batches: what is ordinary. Whatever is not, it leaves to Kafka's client.

It knows no metadata and no retries: a partition begins where somebody says and at the address that he names, and at the first
error of any kind it is left, with the offset to go on from and the epoch of the record before, so that the client looks first
whether the log is still the one that was read. So is one that has had nothing new for some seconds: a request names every
partition, and the client does that at less cost. One thread; one request on its way to each broker, and the next is sent before
what has come is decoded.
"""

import logging
import select
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from headrace.clock import Clock, MonotonicMs
from headrace.errors import CorruptError, PeerError
from headrace.sinks.fetching import wire
from headrace.sinks.fetching.batches import Batch, UnreadableError, inflated, walk
from headrace.sinks.fetching.connection import Address, Connection
from headrace.sinks.fetching.holes import Unread
from headrace.sinks.fetching.records import FetchedRecord, Records, Section
from headrace.sinks.topics import Where

logger = logging.getLogger(__name__)

PIECE_BYTES: Final = 4 << 20
"""Of records that are handed out at once, inflated: one batch more than that at most."""
IDLE_MS: Final = 2000
_ANSWER_BYTES: Final = 4 << 20
"""Of one partition, if it has so much: the more rows are decoded at once, the less each costs. Then it is others' turn."""
_WAIT_MS: Final = 100
_SILENCE_MS: Final = 30_000
"""After so long without an answer a broker is taken for gone."""


@dataclass(frozen=True, slots=True)
class Left:
    """A partition that is not fetched any more, and where to go on."""

    where: Where
    offset: int
    epoch: int
    """Of the record before; -1 where unknown."""
    why: str
    """Empty where it has only been idle."""


@dataclass(slots=True)
class Fetched:
    """What has come: records by partition, in offset order; then ends of partitions, and those that are left."""

    records: list[tuple[Where, Records | list[FetchedRecord]]] = field(default_factory=list)
    ends: list[tuple[Where, int]] = field(default_factory=list)
    passed: list[tuple[Where, int]] = field(default_factory=list)
    """Up to which offsets all has been handed out, also where that are no records."""
    left: list[Left] = field(default_factory=list)
    unread: list[tuple[Where, Unread]] = field(default_factory=list)
    """Where batches lie that readers do not see."""


@dataclass(slots=True)
class _Place:
    """Where a partition is being fetched."""

    where: Where
    address: Address | None
    """None once it is left."""
    offset: int
    epoch: int
    busy_ms: MonotonicMs
    told_end: int = -1


@dataclass(frozen=True, slots=True)
class _Came:
    """Something that came of a partition and is to be handed out: batches from an offset on, an end, or that it is left."""

    place: _Place
    offset: int
    batches: tuple[Batch, ...] = ()
    until: int = -1
    """Where the next begin; -1 where nothing was read."""
    is_end: bool = False
    left: Left | None = None
    unread: Unread = ()


@dataclass(slots=True)
class _Broker:
    """A connection, and what is asked on it."""

    connection: Connection
    asked: dict[Where, _Place] = field(default_factory=dict)
    asked_ms: MonotonicMs | None = None
    """None while nothing is on its way."""
    rest_until_ms: int = 0
    correlation_id: int = 0


class Fetcher:
    """Partitions that are fetched."""

    def __init__(self, client_id: str, clock: Clock) -> None:
        self._client_id, self._clock = client_id, clock
        self._places: dict[Where, _Place] = {}
        self._brokers: dict[Address, _Broker] = {}
        self._came: deque[_Came] = deque()
        self._came_bytes = 0

    def begin(self, where: Where, offset: int, address: Address, *, epoch: int = -1) -> None:
        """Fetch a partition from an offset on, at its leader; `epoch`: of the record before."""
        self._places[where] = _Place(where, address, offset, epoch, self._clock.monotonic_ms())

    def end(self, where: Where) -> None:
        """Fetch a partition no more; nothing of it that has come is handed out."""
        self._places.pop(where, None)

    def leave(self, where: Where, why: str) -> None:
        """Leave a partition, once what has come of it is handed out."""
        place = self._places.get(where)
        if place is not None and place.address is not None:
            self._leave(place, why)

    def __contains__(self, where: object) -> bool:
        return where in self._places

    def __len__(self) -> int:
        return len(self._places)

    def turn(self, wait_ms: int) -> Fetched:
        """What has come, after up to `wait_ms` for a piece of it."""
        until_ms = self._clock.monotonic_ms() + wait_ms
        self._ask()
        while True:
            left_ms = until_ms - self._clock.monotonic_ms()
            is_enough = self._came_bytes >= PIECE_BYTES or left_ms <= 0 or not self._places
            if self._receive(0 if is_enough else left_ms):
                self._ask()
            if is_enough:
                return self._hand_out()

    # Requests and answers.

    def _ask(self) -> None:
        now_ms = self._clock.monotonic_ms()
        by_address: dict[Address, dict[Where, _Place]] = {}
        for where, place in self._places.items():
            if place.address is not None:
                by_address.setdefault(place.address, {})[where] = place
        for address in self._brokers.keys() - by_address.keys():
            if self._brokers[address].asked_ms is None:
                self._brokers.pop(address).connection.close()
        for address, places in by_address.items():
            try:
                self._ask_one(address, places, now_ms)
            except PeerError as error:
                self._lose(address, str(error))

    def _ask_one(self, address: Address, places: dict[Where, _Place], now_ms: MonotonicMs) -> None:
        broker = self._brokers.get(address)
        if broker is None:
            broker = self._brokers[address] = _Broker(Connection(address))
        if broker.asked_ms is not None:
            if now_ms - broker.asked_ms > _SILENCE_MS:
                raise PeerError(f"kafka: {address[0]}:{address[1]} does not answer")
            return
        if now_ms < broker.rest_until_ms or self._came_bytes > PIECE_BYTES:
            return
        broker.correlation_id += 1
        wanted = [wire.Wanted(*where, place.offset, place.epoch) for where, place in places.items()]
        request = wire.request(wanted, broker.correlation_id, self._client_id, wait_ms=_WAIT_MS, max_bytes=_ANSWER_BYTES)
        broker.connection.send(request)
        broker.asked, broker.asked_ms = places, now_ms

    def _receive(self, wait_ms: int) -> bool:
        """Take what has come, after up to `wait_ms` for anything; whether there was a whole answer."""
        is_answered = False
        by_descriptor = {broker.connection.fileno(): address for address, broker in self._brokers.items()}
        poll = select.poll()
        for descriptor in by_descriptor:
            poll.register(descriptor, select.POLLIN)
        for descriptor, _ in poll.poll(wait_ms):
            address = by_descriptor[descriptor]
            broker = self._brokers[address]
            try:
                frame = broker.connection.receive()
                if frame is not None:
                    self._take(broker, frame)
                    is_answered = True
            except (PeerError, CorruptError) as error:
                self._lose(address, str(error))
        return is_answered

    def _take(self, broker: _Broker, frame: memoryview) -> None:
        if broker.asked_ms is None:
            raise CorruptError("a response that nobody asked for")
        now_ms = self._clock.monotonic_ms()
        throttle_ms, found = wire.answers(frame, broker.correlation_id)
        asked = broker.asked
        broker.asked, broker.asked_ms, broker.rest_until_ms = {}, None, now_ms + throttle_ms
        for answer in found:
            place = asked.pop((answer.topic, answer.partition), None)
            if place is not None and self._is_fetched(place):
                self._go_on(place, answer, now_ms)
        for place in filter(self._is_fetched, asked.values()):
            self._leave(place, "a broker does not say anything of it")

    def _is_fetched(self, place: _Place) -> bool:
        return place.address is not None and self._places.get(place.where) is place

    def _go_on(self, place: _Place, answer: wire.Answer, now_ms: MonotonicMs) -> None:
        if answer.error or answer.has_diverged:
            self._leave(place, f"error {answer.error}" if answer.error else "its log has diverged")
            return
        try:
            walked = walk(answer.batches, place.offset, place.epoch, answer.aborted)
        except UnreadableError as error:
            self._leave(place, str(error))
            return
        if walked.next_offset > place.offset:
            self._came.append(_Came(place, place.offset, walked.batches, walked.next_offset, unread=walked.unread))
            self._came_bytes += sum(len(batch.records) for batch in walked.batches)
            place.offset, place.epoch, place.busy_ms = walked.next_offset, walked.last_epoch, now_ms
            self._places[place.where] = self._places.pop(place.where)  # whose turn it was comes last in the next request
        if place.offset >= answer.last_stable_offset:
            if place.told_end != place.offset:
                place.told_end = place.offset
                self._came.append(_Came(place, place.offset, is_end=True))
            elif now_ms - place.busy_ms >= IDLE_MS:
                self._leave(place, "")

    def _leave(self, place: _Place, why: str) -> None:
        """Fetch a partition no more; it is left once what has come of it is handed out."""
        place.address = None
        self._came.append(_Came(place, place.offset, left=Left(place.where, place.offset, place.epoch, why)))

    def _lose(self, address: Address, why: str) -> None:
        """A connection has ended."""
        broker = self._brokers.pop(address, None)
        if broker is not None:
            broker.connection.close()
        for place in [place for place in self._places.values() if place.address == address]:
            self._leave(place, why)

    # Handing out.

    def _hand_out(self) -> Fetched:
        fetched = Fetched()
        whole: dict[Where, list[Section]] = {}
        size = 0
        while self._came and size < PIECE_BYTES:
            came = self._came.popleft()
            self._came_bytes -= sum(len(batch.records) for batch in came.batches)
            where = came.place.where
            if self._places.get(where) is not came.place:
                continue
            if came.left is not None:
                fetched.left.append(came.left)
                self.end(where)
            elif came.is_end:
                fetched.ends.append((where, came.offset))
            if came.unread:
                fetched.unread.append((where, came.unread))
            for batch in came.batches:
                try:
                    section = Section(batch, inflated(batch))
                    if batch.base_offset < came.offset:  # the first after `begin`, which may be in the middle of a batch
                        fetched.records.append((where, [one for one in section.listed() if one.offset() >= came.offset]))
                    else:
                        whole.setdefault(where, []).append(section)
                except UnreadableError as error:
                    fetched.left.append(Left(where, max(batch.base_offset, came.offset), -1, str(error)))
                    self.end(where)
                    break
                size += len(section.data)
            else:
                if came.until > came.offset:
                    fetched.passed.append((where, came.until))
        fetched.records += [(where, Records(sections)) for where, sections in whole.items()]
        return fetched

    def close(self) -> None:
        """Close all connections."""
        for broker in self._brokers.values():
            broker.connection.close()
        self._brokers.clear()
        self._places.clear()

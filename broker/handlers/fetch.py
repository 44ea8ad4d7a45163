"""Fetch v4-16: records of many partitions, as they lie in the log; waits for `min_bytes` up to `max_wait`.

v5 log start offset; v7 sessions (KIP-227): the answer's session id is 0, which means that none was made, and clients then
name all partitions each time; v9 fencing by leader epoch; v11 racks; v12 flexible; v13 topics by id; v15 replicas speak of
themselves in tagged fields; v16 tells of new leaders (KIP-951), of which there are none. v17+ concern followers only.

At least one batch is answered, however large, if there is any (KIP-74). There are no transactions but those that Apache Kafka
has left in a log: read_committed is told of the aborted ones, and the last stable offset is the high watermark.
"""

import time
from collections.abc import Generator
from functools import partial
from typing import Any
from uuid import UUID

from headrace.broker.broker import Broker
from headrace.broker.handlers.api import Answer, Api, Charged, Encoded, RequestContext, Steps
from headrace.broker.handlers.steps import TOPICS_AT_A_TIME, at_once, mapped, started, with_pauses
from headrace.broker.log.partition_log import PartitionLog
from headrace.broker.network.sending import Region
from headrace.broker.security.access import Operation, ResourceType
from headrace.broker.wire import ErrorCode
from headrace.broker.wire.hot import Fetched, fetch_parts
from headrace.broker.wire.schema import milliseconds

_NO_TOPIC_ID = UUID(int=0)
_TOPICS_BY_ID, _FOLLOWERS_APART = 13, 15
_Results = list[tuple[str, UUID, list[Fetched]]]


def _handle(broker: Broker, context: RequestContext, request: Any) -> Answer:
    if request.session_epoch not in (-1, 0):  # a session of a broker that has been restarted, or none
        parts = at_once(fetch_parts(context.api_version, [], read_committed=False, error=ErrorCode.fetch_session_id_not_found))
        return Encoded(parts)
    return started(_first_look(_Reading(broker, context, request), milliseconds(request.max_wait), context.started_ns))


def _first_look(reading: "_Reading", wait_ms: int, since_ns: int) -> Steps:
    results = yield from reading.read_in_steps()
    if reading.is_enough or wait_ms <= 0:
        return (yield from reading.encoded(results, since_ns))
    return _when_enough(reading, wait_ms)


async def _when_enough(reading: "_Reading", wait_ms: int) -> Encoded:
    clock, waiters = reading.broker.clock, reading.broker.waiters
    deadline_ms = clock.monotonic_ms() + wait_ms
    while True:
        left_ms = deadline_ms - clock.monotonic_ms()
        if not reading.has_grown():  # since it was read, which may be some turns ago
            await waiters.bytes_arrive(reading.logs, reading.missing_bytes, max(left_ms, 0))
        since_ns = time.perf_counter_ns()
        results = await with_pauses(reading.read_in_steps())
        if reading.is_enough or waiters.is_closed or clock.monotonic_ms() >= deadline_ms:
            return await with_pauses(reading.encoded(results, since_ns))


class _Reading:
    """One request, read as often as it takes."""

    def __init__(self, broker: Broker, context: RequestContext, request: Any) -> None:
        self.broker = broker
        self._context = context
        self._version = context.api_version
        self._request = request
        self._read_committed = request.isolation_level == 1
        follower = request if self._version < _FOLLOWERS_APART else request.replica_state
        self._is_follower = follower.replica_id >= 0
        # As in KafkaApis: who has a quota is not sent more than would be throttled in any case, nor waits for more.
        most_bytes = None if self._is_follower else broker.throttler.most_to_fetch(context)
        self._most_bytes = broker.config.fetch_max_bytes if most_bytes is None else int(most_bytes)
        self._min_bytes = min(request.min_bytes, self._most_bytes)
        self._left = 0
        self._failed = False
        self.missing_bytes = 0
        self.logs: list[PartitionLog] = []
        self._seen: list[int] = []  # the high watermark of each when it was read

    @property
    def is_enough(self) -> bool:
        """Whether to answer at once: enough bytes, a partition in error, or nothing that could grow."""
        return self.missing_bytes <= 0 or self._failed or not self.logs

    def has_grown(self) -> bool:
        """Whether there is more to read of a partition than when it was read."""
        return any(log.high_watermark != seen for log, seen in zip(self.logs, self._seen, strict=True))

    def read_in_steps(self) -> Generator[None, None, _Results]:
        """Look at every partition once; others may have a turn in between."""
        self._left = min(self._request.max_bytes, self.broker.config.fetch_max_bytes, self._most_bytes)
        self.missing_bytes = self._min_bytes
        self._failed = False
        self.logs, self._seen = [], []
        results: _Results = []
        for topic in self._request.topics or ():
            results.append((yield from self._topic(topic)))
            if len(results) % TOPICS_AT_A_TIME == 0:
                yield
        return results

    def encoded(self, results: _Results, since_ns: int) -> Generator[None, None, Encoded]:
        """The answer, or the one without records of a client over its quota; `since_ns`: when the work on it began."""
        parts = yield from fetch_parts(self._version, results, read_committed=self._read_committed)
        throttle_ms, may_go = 0, True
        if not self._is_follower:
            throttle_ms, may_go = self.broker.throttler.fetched(self._context, sum(map(len, parts)), since_ns)
        if throttle_ms:
            told = results if may_go else []
            parts = yield from fetch_parts(self._version, told, read_committed=self._read_committed, throttle_ms=throttle_ms)
        if may_go:
            self._count(results)
        return Encoded(parts)

    def _count(self, results: _Results) -> None:
        for topic, _, answered in results:
            traffic = self.broker.traffic(topic)
            traffic.fetch_requests += len(answered)
            for fetched in answered:
                traffic.bytes_out += len(fetched.records)
                traffic.failed_fetch_requests += 1 if fetched.error else 0

    def _topic(self, asked: Any) -> Generator[None, None, tuple[str, UUID, list[Fetched]]]:
        partitions = asked.partitions or ()
        topic_id, name = _NO_TOPIC_ID, asked.topic if self._version < _TOPICS_BY_ID else ""
        if self._version >= _TOPICS_BY_ID:
            topic_id = asked.topic_id or _NO_TOPIC_ID
            topic = self.broker.topics.by_id(topic_id)
            if topic is None:  # ids are no secret, as in Kafka: names are
                return "", topic_id, [self._error(partition, ErrorCode.unknown_topic_id) for partition in partitions]
            name = topic.name
        if not self._may_read(name):
            return name, topic_id, [self._error(partition, ErrorCode.topic_authorization_failed) for partition in partitions]
        return name, topic_id, (yield from mapped(partial(self._partition, name), partitions))

    def _may_read(self, topic: str) -> bool:
        """Followers, which we have none of, are not consumers: they need to be part of the cluster, as in Kafka."""
        if self._is_follower:
            return self._context.may_cluster(Operation.CLUSTER_ACTION)
        return self._context.may(Operation.READ, ResourceType.TOPIC, topic)

    def _partition(self, topic: str, asked: Any) -> Fetched:
        log = self.broker.logs.get(topic, asked.partition)
        if log is None:
            return self._error(asked, ErrorCode.unknown_topic_or_partition)
        if asked.current_leader_epoch > log.leader_epoch:
            return self._error(asked, ErrorCode.unknown_leader_epoch)
        if 0 <= asked.current_leader_epoch < log.leader_epoch:
            return self._error(asked, ErrorCode.fenced_leader_epoch)
        nothing_yet = self.missing_bytes == self._min_bytes
        located = log.locate(asked.fetch_offset, min(asked.partition_max_bytes, self._left), min_one=nothing_yet)
        if located.error:
            return self._error(asked, located.error)
        self.logs.append(log)
        self._seen.append(located.high_watermark)
        region = located.region
        if region is None:
            return Fetched(asked.partition, 0, located.high_watermark, located.log_start_offset)
        self._left -= region.size
        self.missing_bytes -= region.size
        fetched = Fetched(asked.partition, 0, located.high_watermark, located.log_start_offset, Region(region))
        return self._told_of_aborted(fetched, log, asked) if self._read_committed else fetched

    def _told_of_aborted(self, fetched: Fetched, log: PartitionLog, asked: Any) -> Fetched:
        """With the transactions whose records a read_committed consumer passes over; it looks at what it comes to."""
        try:
            aborted = log.aborted.reaching(asked.fetch_offset)
        except OSError as error:
            log.fence(error)
            return self._error(asked, ErrorCode.kafka_storage_error)
        return fetched._replace(aborted=aborted) if aborted else fetched

    def _error(self, asked: Any, error: int) -> Fetched:
        self._failed = True
        return Fetched(asked.partition, error, high_watermark=-1, log_start_offset=-1)


FETCH = Api(1, "Fetch", 4, 16, _handle, cancelled_with_connection=True, charged=Charged.APART)

"""Produce v3-11, advertised from v0 as Kafka does (KAFKA-18659); v0-2 are refused with UNSUPPORTED_VERSION.

v4 KAFKA_STORAGE_ERROR may come; v5 log start offset; v7 zstd; v8 messages with errors (KIP-467); v9 flexible; v10 KIP-951;
v11 TRANSACTION_ABORTABLE, which needs transactions. v12 promises KIP-890, v13 names topics by id.

acks=1 answers when the records are in the log, and after the fsync that `flush.messages` makes due with them; acks=-1 when they
meet the topic's durability; acks=0 never: an error then closes the connection, since there is no other way to say it.
"""

import asyncio
import struct
from collections.abc import Awaitable
from typing import Any

from headrace.broker.broker import Broker
from headrace.broker.handlers.api import Answer, Api, Charged, CloseConnectionError, Encoded, RequestContext, Response, Steps
from headrace.broker.handlers.steps import started
from headrace.broker.log.batch import CODEC_MASK
from headrace.broker.log.partition_log import PartitionLog
from headrace.broker.log.results import AppendResult
from headrace.broker.security.access import Operation, ResourceType
from headrace.broker.topic_names import INTERNAL_TOPICS
from headrace.broker.wire import ErrorCode
from headrace.broker.wire.header import MalformedRequestError, RequestHeader
from headrace.broker.wire.hot import Produced, produce_body, throttle_time_position
from headrace.broker.wire.schema import milliseconds

_SERVED = (3, 11)
_ZSTD_FROM_VERSION, _ZSTD = 7, 4
_Fault = tuple[int, str | None]
_UNAUTHORIZED: _Fault = ErrorCode.topic_authorization_failed, "Topic authorization failed."
_UNKNOWN: _Fault = ErrorCode.unknown_topic_or_partition, None
_STEP_BYTES = 512 * 1024  # appended before others have a turn, a partition counted as _PARTITION_BYTES more
_PARTITION_BYTES = 16 * 1024
_ATTRIBUTES_AT = 22  # the low byte of a batch's attributes
_Results = list[tuple[str, list[Produced]]]


def _handle(broker: Broker, context: RequestContext, request: Any) -> Answer:
    return started(_in_steps(_Produce(broker, context, request), request))


def _in_steps(produce: "_Produce", request: Any) -> Steps:
    context, taken_bytes = produce.context, 0
    request_fault = _request_fault(context, request)
    for topic in request.topic_data or ():
        may_write = context.may(Operation.WRITE, ResourceType.TOPIC, topic.name)
        fault = request_fault if may_write else _UNAUTHORIZED
        done: list[Produced] = []
        produce.results.append((topic.name, done))
        for data in topic.partition_data or ():
            if taken_bytes > _STEP_BYTES:
                taken_bytes = 0
                yield
            produce.take(topic.name, data, done, fault)
            taken_bytes += _PARTITION_BYTES + len(data.records or b"")
    return _when_appended(produce) if produce.late else _answer(produce)


class _Produce:
    """One request: what became of each partition's batch, and what must be waited for."""

    __slots__ = ("acks", "broker", "context", "late", "results", "timeout", "waits")

    def __init__(self, broker: Broker, context: RequestContext, request: Any) -> None:
        self.broker, self.context = broker, context
        self.acks, self.timeout = request.acks, request.timeout
        self.results: _Results = []
        self.waits: list[tuple[PartitionLog, int]] = []
        self.late: list[tuple[list[Produced], int, PartitionLog, asyncio.Future[AppendResult]]] = []

    def take(self, topic: str, data: Any, done: list[Produced], fault: _Fault | None) -> None:
        """Append one partition's batch, unless something is wrong with it."""
        log = None if fault else self.broker.logs.get(topic, data.index)
        if log is None:
            done.append(_failed(data.index, *(fault or _UNKNOWN)))
            return
        fault = self._fault(topic, log, data.records)
        if fault:
            done.append(_failed(data.index, *fault))
            return
        result = self.broker.appends.append(log, data.records)
        if isinstance(result, AppendResult):
            done.append(self.produced(log, data.index, result))
        else:
            self.late.append((done, len(done), log, result))
            done.append(_failed(data.index, ErrorCode.none, None))

    def _fault(self, topic: str, log: PartitionLog, records: Any) -> _Fault | None:
        """What is wrong before the batch itself is looked at."""
        if topic in INTERNAL_TOPICS:
            return ErrorCode.invalid_topic_exception, f"{topic} is the broker's own"
        if records is None:
            return ErrorCode.invalid_record, "no records"
        if self.context.api_version < _ZSTD_FROM_VERSION and _is_zstd(records):
            return ErrorCode.unsupported_compression_type, "zstd needs Produce v7"
        if self.acks == -1 and log.config.min_insync_replicas > 1:
            return ErrorCode.not_enough_replicas, f"there is 1 replica, min.insync.replicas is {log.config.min_insync_replicas}"
        return None

    def produced(self, log: PartitionLog, index: int, result: AppendResult) -> Produced:
        """What the producer is told of one partition, if there is nothing more to wait for."""
        if result.error:
            return _failed(index, result.error, result.message)
        if log.high_watermark <= result.last_offset:
            at = log.answerable_from(result.last_offset, self.acks)
            if log.high_watermark < at:
                self.waits.append((log, at))
        return Produced(index, 0, result.base_offset, result.log_append_time_ms, result.log_start_offset)


async def _when_appended(produce: _Produce) -> Response:
    for done, at, log, appended in produce.late:
        done[at] = produce.produced(log, done[at].partition, await appended)
    answer = _answer(produce)
    return await answer if isinstance(answer, Awaitable) else answer


def _answer(produce: _Produce) -> Response | Awaitable[Response]:
    for topic, done in produce.results:
        traffic = produce.broker.traffic(topic)
        traffic.produce_requests += len(done)
        for produced in done:
            if produced.error:
                traffic.failed_produce_requests += 1
    if produce.acks == 0:
        _close_on_error(produce.results)
        return None
    if produce.waits:
        return _when_durable(produce)
    return _encoded(produce)


def _encoded(produce: _Produce) -> Encoded:
    version = produce.context.api_version
    return Encoded([produce_body(version, produce.results)], throttle_time_position(version))


def _request_fault(context: RequestContext, request: Any) -> _Fault | None:
    transaction = request.transactional_id
    if transaction is not None and not context.may(Operation.WRITE, ResourceType.TRANSACTIONAL_ID, transaction):
        return ErrorCode.transactional_id_authorization_failed, "Transactional Id authorization failed."
    if request.acks not in (-1, 0, 1):
        return ErrorCode.invalid_required_acks, f"acks={request.acks}: it is -1, 0 or 1"
    if transaction is not None:
        return ErrorCode.invalid_txn_state, "this broker has no transactions"
    return None


def _is_zstd(records: bytes | memoryview) -> bool:
    """Zstandard came with v7 (KIP-110): a client of before would write what its own kind cannot read."""
    return len(records) > _ATTRIBUTES_AT and records[_ATTRIBUTES_AT] & CODEC_MASK == _ZSTD


def _failed(partition: int, error: int, message: str | None) -> Produced:
    return Produced(partition, error, -1, -1, -1, message)


def _close_on_error(results: _Results) -> None:
    for topic, done in results:
        for produced in done:
            if produced.error:
                name = ErrorCode(produced.error).name
                raise CloseConnectionError(
                    f"acks=0 and {topic}-{produced.partition} failed: {name} {produced.message or ''}".strip()
                )


async def _when_durable(produce: _Produce) -> Encoded:
    waits = produce.waits
    try:
        async with asyncio.timeout(milliseconds(produce.timeout) / 1000):
            for log, end_offset in waits:
                await produce.broker.waiters.high_watermark_reaches(log, end_offset)
    except TimeoutError:
        pass  # what is not durable by now is told so below
    late = {(log.topic, log.partition): log for log, end in waits if log.high_watermark < end}
    for topic, done in produce.results:
        for index, produced in enumerate(done):
            behind = late.get((topic, produced.partition))
            if behind is not None and not produced.error:
                error = ErrorCode.kafka_storage_error if behind.fenced or behind.closed else ErrorCode.request_timed_out
                done[index] = _failed(produced.partition, error, None)
    return _encoded(produce)


def _refuse(_: Broker, frame: bytes | memoryview, header: RequestHeader) -> bytes | None:
    """Answer v0-2 (acks i16, timeout i32, topics of partitions of records, i32 counts): error 35 for every partition."""
    if not 0 <= header.api_version < _SERVED[0]:
        return None
    try:
        acks, topics = _parse_old(frame, header.body_position)
    except (struct.error, UnicodeDecodeError) as error:
        raise MalformedRequestError(f"Produce v{header.api_version}: {error}") from error
    if acks == 0:
        return None
    out = bytearray(struct.pack(">ii", header.correlation_id, len(topics)))
    for name, partitions in topics:
        out += struct.pack(">h", len(name)) + name + struct.pack(">i", len(partitions))
        for partition in partitions:
            out += struct.pack(">ihq", partition, ErrorCode.unsupported_version, -1)
            out += struct.pack(">q", -1) if header.api_version >= 2 else b""
    return bytes(out + (b"\0\0\0\0" if header.api_version >= 1 else b""))


def _parse_old(frame: bytes | memoryview, position: int) -> tuple[int, list[tuple[bytes, list[int]]]]:
    acks, _, count = struct.unpack_from(">hii", frame, position)
    position += 10
    topics = []
    for _ in range(count):
        (length,) = struct.unpack_from(">h", frame, position)
        name = bytes(frame[position + 2 : position + 2 + max(length, 0)])
        position += 2 + len(name)
        (partitions,) = struct.unpack_from(">i", frame, position)
        position += 4
        indexes = []
        for _ in range(partitions):
            index, size = struct.unpack_from(">ii", frame, position)
            position += 8 + max(size, 0)
            indexes.append(index)
        topics.append((name, indexes))
    return acks, topics


PRODUCE = Api(0, "Produce", *_SERVED, _handle, advertised_min_version=0, refuse=_refuse, charged=Charged.BYTES)

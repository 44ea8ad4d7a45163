"""OffsetCommit (8) v2-10, OffsetFetch (9) v1-10, OffsetDelete (47) v0: where consumers say, and ask, how far they have come.

OffsetCommit: v2-4 name their own retention; v6 adds the leader epoch (KIP-320), v7 static members; v10 names topics by id.
OffsetFetch: v2 takes null for all topics and answers with an error of its own; v5 adds the leader epoch; v7 `require_stable`,
which holds always, as there are no transactions; v8 asks for many groups (KIP-709); v10 names topics by id (KIP-848).
A group or an offset that does not exist is offset -1 and no error, as in Kafka: clients rely on it.
"""

import uuid
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from headrace.broker.groups.messages import GroupState
from headrace.broker.groups.records import CommittedOffset
from headrace.broker.groups.subscription import CONSUMER_PROTOCOL_TYPE
from headrace.broker.handlers.api import Answer, Api, RequestContext, Response, Steps
from headrace.broker.handlers.steps import TOPICS_AT_A_TIME, mapped, started
from headrace.broker.security.access import Operation, ResourceType
from headrace.broker.wire import ErrorCode
from headrace.broker.wire.schema import milliseconds

if TYPE_CHECKING:
    from headrace.broker.broker import Broker

_TOPIC_IDS_FROM_VERSION = 10
_MANY_GROUPS_FROM_VERSION = 8
_ERROR_AT_TOP_FROM_VERSION = 2
_COMMITTED_AT_A_TIME = 100  # 0.4 ms
_NO_TOPIC_ID = uuid.UUID(int=0)


def _resolve(broker: "Broker", context: RequestContext, operation: Operation, topic: Any) -> tuple[str | None, ErrorCode]:
    """The topic's name and no error, or what is wrong with it; ids are no secret, as in Kafka."""
    name = topic.name if context.api_version < _TOPIC_IDS_FROM_VERSION else None
    if name is None:
        known = broker.topics.by_id(topic.topic_id) if topic.topic_id else None
        if known is None:
            return None, ErrorCode.unknown_topic_id
        name = known.name
    may = context.may(operation, ResourceType.TOPIC, name)
    return (name, ErrorCode.none) if may else (None, ErrorCode.topic_authorization_failed)


def offset_commit(broker: "Broker", context: RequestContext, request: Any) -> Answer:
    if not context.may(Operation.READ, ResourceType.GROUP, request.group_id):
        return _commit_answer(request, lambda _at, _below: ErrorCode.group_authorization_failed)
    return started(_commit_in_steps(_Commit(broker, request), context))


def _commit_in_steps(commit: "_Commit", context: RequestContext) -> Steps:
    for at, topic in enumerate(commit.request.topics):
        name, unknown = _resolve(commit.broker, context, Operation.READ, topic)
        for below, partition in enumerate(topic.partitions):
            commit.take(at, below, name, partition, unknown)
            if len(commit.accepted) == _COMMITTED_AT_A_TIME:
                commit.store_more()
                yield
                commit.check()
        if (at + 1) % TOPICS_AT_A_TIME == 0:
            yield
            commit.check()
    return commit.stored() if commit.accepted or commit.storing else commit.answer()


class _Commit:
    """One request: what became of each partition, by the place of its topic and its own in that.

    Partitions are stored a part at a time, others have a turn in between, and then it is asked again whether the member may
    still commit: a group that has gone on to the next generation is not overtaken by the last one's offsets.
    """

    def __init__(self, broker: "Broker", request: Any) -> None:
        self.broker, self.request = broker, request
        self.accepted: dict[tuple[int, int], tuple[tuple[str, int], CommittedOffset]] = {}  # and not stored yet
        self.storing: list[tuple[Sequence[tuple[int, int]], Awaitable[ErrorCode]]] = []
        self._errors: dict[tuple[int, int], ErrorCode] = {}
        self._retention_ms = _retention_ms(request)
        self._refusal = self._may_commit()

    def _may_commit(self) -> ErrorCode:
        request = self.request
        generation = request.generation_id_or_member_epoch
        refusal: ErrorCode = self.broker.groups.check_commit(
            request.group_id, request.member_id, request.group_instance_id, generation
        )
        return refusal

    def take(self, at: int, below: int, topic: str | None, partition: Any, unknown: ErrorCode) -> None:
        """Accept one partition's offset, or note what is wrong with it."""
        error = unknown if topic is None else _partition_error(self.broker, topic, partition, self._refusal)
        self._errors[at, below] = error
        if topic is not None and error is ErrorCode.none:
            committed = _committed_offset(self.broker, partition, self._retention_ms)
            self.accepted[at, below] = ((topic, partition.partition_index), committed)

    def check(self) -> None:
        """Others had a turn: ask again whether the member may commit."""
        self._refusal = self._may_commit()
        if self._refusal is not ErrorCode.none:
            self._errors |= dict.fromkeys(self.accepted, self._refusal)
            self.accepted = {}

    def store_more(self) -> None:
        """Append what is accepted, whatever becomes of the connection."""
        self.storing.append((list(self.accepted), self.broker.groups.spawn(self._store())))

    def _store(self) -> Coroutine[None, None, ErrorCode]:
        accepted, self.accepted = self.accepted, {}
        storing: Coroutine[None, None, ErrorCode] = self.broker.groups.commit(self.request.group_id, list(accepted.values()))
        return storing

    def stored(self) -> Awaitable[Response]:
        """The answer, when all is stored."""
        if self.accepted:
            self.storing.append((list(self.accepted), self._store()))
        return self._when_stored()

    async def _when_stored(self) -> Response:
        for places, stored in self.storing:
            self._errors |= dict.fromkeys(places, await stored)
        return self.answer()

    def answer(self) -> Response:
        return _commit_answer(self.request, lambda at, below: self._errors[at, below])


def _commit_answer(request: Any, error_at: Callable[[int, int], ErrorCode]) -> Response:
    return {
        "topics": [
            {
                "name": getattr(topic, "name", ""),
                "topic_id": getattr(topic, "topic_id", None),
                "partitions": [
                    {"partition_index": partition.partition_index, "error_code": error_at(at, below)}
                    for below, partition in enumerate(topic.partitions)
                ],
            }
            for at, topic in enumerate(request.topics)
        ]
    }


def _partition_error(broker: "Broker", topic: str, partition: Any, refusal: ErrorCode) -> ErrorCode:
    """In Kafka's order: a partition that is not there, the group's refusal, the metadata."""
    if broker.logs.get(topic, partition.partition_index) is None:
        return ErrorCode.unknown_topic_or_partition
    if refusal is not ErrorCode.none:
        return refusal
    if len((partition.committed_metadata or "").encode()) > broker.config.offset_metadata_max_bytes:
        return ErrorCode.offset_metadata_too_large
    return ErrorCode.none


def _retention_ms(request: Any) -> int | None:
    """v2-4 name a retention in ms; -1, and all other versions, leave it to the broker."""
    retention_ms = milliseconds(request.retention_time) if hasattr(request, "retention_time") else -1
    return retention_ms if retention_ms >= 0 else None


def _committed_offset(broker: "Broker", partition: Any, retention_ms: int | None) -> CommittedOffset:
    now_ms = broker.clock.wall_ms()
    return CommittedOffset(
        partition.committed_offset,
        partition.committed_leader_epoch,
        partition.committed_metadata or "",
        now_ms,
        None if retention_ms is None else now_ms + retention_ms,
    )


def offset_fetch(broker: "Broker", context: RequestContext, request: Any) -> Answer:
    return started(_offset_fetch_in_steps(broker, context, request))


def _offset_fetch_in_steps(broker: "Broker", context: RequestContext, request: Any) -> Steps:
    if context.api_version < _MANY_GROUPS_FROM_VERSION:
        group = yield from _fetched_group(broker, context, request)
        return {"topics": group["topics"], "error_code": group["error_code"]}
    groups = []
    for asked in request.groups:
        groups.append((yield from _fetched_group(broker, context, asked)))
        if len(groups) % TOPICS_AT_A_TIME == 0:
            yield
    return {"groups": groups}


class _AskedTopic(NamedTuple):
    """How the answer names it, its name if it may be told of, its partitions, and the error if it may not."""

    named: dict[str, Any]
    name: str | None
    partition_indexes: Sequence[int]
    error: ErrorCode


def _fetched_group(broker: "Broker", context: RequestContext, asked: Any) -> Generator[None, None, dict[str, Any]]:
    """Asked for at the request's top, up to v7, or as one of many groups."""
    topics, error = _asked_topics(broker, context, asked), ErrorCode.none
    if not context.may(Operation.DESCRIBE, ResourceType.GROUP, asked.group_id):
        error = ErrorCode.group_authorization_failed
    elif not broker.groups.is_available(asked.group_id):
        error = ErrorCode.coordinator_not_available
    if error is not ErrorCode.none:
        says_it_below = context.api_version < _ERROR_AT_TOP_FROM_VERSION
        topics = (
            _AskedTopic(_named(topic), None, topic.partition_indexes, error) for topic in asked.topics or () if says_it_below
        )
    answer = []
    for topic in topics:
        fetched = partial(_fetched, broker, asked.group_id, topic.name, topic.error)
        answer.append(topic.named | {"partitions": (yield from mapped(fetched, topic.partition_indexes))})
        if len(answer) % TOPICS_AT_A_TIME == 0:
            yield
    return {"group_id": asked.group_id, "topics": answer, "error_code": error}


def _asked_topics(broker: "Broker", context: RequestContext, asked: Any) -> Iterator[_AskedTopic]:
    if asked.topics is None:
        yield from _topics_with_offsets(broker, context, asked.group_id)
        return
    for topic in asked.topics:
        name, error = _resolve(broker, context, Operation.DESCRIBE, topic)
        yield _AskedTopic(_named(topic), name, topic.partition_indexes, error)


def _named(topic: Any) -> dict[str, Any]:
    return {"name": getattr(topic, "name", ""), "topic_id": getattr(topic, "topic_id", None)}


def _topics_with_offsets(broker: "Broker", context: RequestContext, group_id: str) -> Iterator[_AskedTopic]:
    """All for which the group has offsets, and that the client may see."""
    by_topic: dict[str, list[int]] = {}
    for name, index in broker.groups.all_committed(group_id):
        by_topic.setdefault(name, []).append(index)
    for name, indexes in by_topic.items():
        if not context.sees(Operation.DESCRIBE, ResourceType.TOPIC, name):
            continue
        topic = broker.topics.get(name)
        if topic is None and context.api_version >= _TOPIC_IDS_FROM_VERSION:
            continue  # deleted: it has no id to be named by
        named = {"name": name, "topic_id": topic.topic_id if topic else _NO_TOPIC_ID}
        yield _AskedTopic(named, name, indexes, ErrorCode.none)


def _fetched(broker: "Broker", group_id: str, topic: str | None, error: ErrorCode, index: int) -> dict[str, Any]:
    committed = None if topic is None else broker.groups.committed(group_id, topic, index)
    return {
        "partition_index": index,
        "committed_offset": -1 if committed is None else committed.offset,
        "committed_leader_epoch": -1 if committed is None else committed.leader_epoch,
        "metadata": "" if committed is None else committed.metadata,
        "error_code": error,
    }


async def offset_delete(broker: "Broker", context: RequestContext, request: Any) -> Response:
    if not context.may(Operation.DELETE, ResourceType.GROUP, request.group_id):
        return {"error_code": ErrorCode.group_authorization_failed, "topics": []}
    group = broker.groups.group(request.group_id) if request.group_id else None
    if group is None:
        return {"error_code": ErrorCode.group_id_not_found if request.group_id else ErrorCode.invalid_group_id, "topics": []}
    subscribed = broker.groups.subscribed(group)
    if group.state is not GroupState.EMPTY and group.protocol_type != CONSUMER_PROTOCOL_TYPE:
        return {"error_code": ErrorCode.non_empty_group, "topics": []}
    wanted = [(topic.name, partition.partition_index) for topic in request.topics for partition in topic.partitions]
    kept = {name for name, _ in wanted if subscribed is None or name in subscribed}  # in a rebalance none may go
    errors = {each: _deletion_error(broker, context, *each, kept) for each in wanted}
    deleted = [each for each, refusal in errors.items() if refusal is ErrorCode.none]
    error = await broker.groups.delete_offsets(request.group_id, deleted)
    return {
        "error_code": error,
        "topics": [
            {
                "name": topic.name,
                "partitions": [
                    {
                        "partition_index": partition.partition_index,
                        "error_code": errors[topic.name, partition.partition_index],
                    }
                    for partition in topic.partitions
                ],
            }
            for topic in request.topics
        ],
    }


def _deletion_error(broker: "Broker", context: RequestContext, topic: str, partition: int, kept: set[str]) -> ErrorCode:
    if not context.may(Operation.READ, ResourceType.TOPIC, topic):
        return ErrorCode.topic_authorization_failed
    if broker.logs.get(topic, partition) is None:
        return ErrorCode.unknown_topic_or_partition
    return ErrorCode.group_subscribed_to_topic if topic in kept else ErrorCode.none


OFFSET_COMMIT = Api(8, "OffsetCommit", 2, 10, offset_commit)
OFFSET_FETCH = Api(9, "OffsetFetch", 1, 10, offset_fetch)
OFFSET_DELETE = Api(47, "OffsetDelete", 0, 0, offset_delete)

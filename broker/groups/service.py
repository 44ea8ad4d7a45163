"""The shell around the groups' cores: carries out their effects on the log, wakes them in time, and answers who waits.

Everything that must survive is a record of `__consumer_offsets`; what is in memory is what those records amount to, plus the
members' requests and timers. A record is appended first and taken over when it meets the topic's durability; then it is
answered. Owned by the event loop, like all of the broker.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from headrace.broker.config import BrokerConfig
from headrace.broker.groups.coordinator import GroupCoordinator
from headrace.broker.groups.group import Group
from headrace.broker.groups.messages import (
    Answer,
    Effects,
    GroupSettings,
    GroupState,
    JoinAnswer,
    JoinRequest,
    LeavingMember,
    StoreGroup,
    SyncAnswer,
    SyncRequest,
)
from headrace.broker.groups.offsets import CommittedOffsets, Partition, expired
from headrace.broker.groups.offsets_log import Appended, OffsetsLog
from headrace.broker.groups.records import CommittedOffset, GroupRecord, OffsetRecord, Record
from headrace.broker.groups.subscription import CONSUMER_PROTOCOL_TYPE, subscribed_topics
from headrace.broker.wire import ErrorCode

if TYPE_CHECKING:
    from headrace.broker.broker import Broker

logger = logging.getLogger(__name__)
T = TypeVar("T", JoinAnswer, SyncAnswer)
R = TypeVar("R")
Appending = Coroutine[None, None, Appended | ErrorCode]  # under way: `OffsetsLog.append`


class GroupService:
    """Groups and committed offsets of one broker."""

    def __init__(self, broker: "Broker", *, unique_text: Callable[[], str]) -> None:
        """`unique_text` makes text that nobody has had before, for member ids."""
        self._broker = broker
        self._clock = broker.clock
        self._unique_text = unique_text
        self._coordinator = GroupCoordinator(_settings(broker.config))
        self._offsets = CommittedOffsets()
        self._log = OffsetsLog(broker)
        self._stored_at_ms: dict[str, int] = {}  # when a group's last record was written, wall time
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._last_request_id = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due_ms = 0
        self._expiry_timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self.generations = 0  # rebalances that came to their end
        self.commits = 0  # offsets of partitions

    # Life

    def load(self) -> None:
        """Rebuild everything from the log; before anything is served.

        Raises:
            CorruptError: a partition of the topic cannot be read.
            VersionError: it holds records of a newer version.
        """
        groups: dict[str, GroupRecord] = {}
        count = 0
        for record in self._log.read_all():
            count += 1
            if isinstance(record, OffsetRecord):
                self._offsets.apply(record)
            else:
                groups[record.group_id] = record
        for record in groups.values():
            self._restore(record)
        for group_id in self._offsets.groups():
            self._coordinator.get_or_create(group_id)
        if count:
            logger.info("groups loaded", extra={"groups": len(list(self._coordinator.groups())), "records": count})

    def start(self) -> None:
        """Begin to keep time; on the event loop."""
        self._wake_in_time()
        self._schedule_expiry()

    def let_go(self) -> None:
        """Leave members that wait for the others unanswered: they will ask again."""
        for future in self._waiting.values():
            future.cancel()

    def close(self) -> None:
        """Stop keeping time, and what is under way."""
        for timer in (self._timer, self._expiry_timer):
            if timer is not None:
                timer.cancel()
        for task in self._tasks:
            task.cancel()
        self.let_go()

    def _restore(self, record: GroupRecord) -> None:
        if record.snapshot is not None:
            self._coordinator.restore(record.group_id, record.snapshot, now_ms=self._clock.monotonic_ms())
            self._stored_at_ms[record.group_id] = record.stored_at_ms

    # Membership

    async def join(self, group_id: str, request: JoinRequest) -> JoinAnswer:
        """JoinGroup; the answer may take as long as a rebalance. `request_id` and `unique` are filled in here.

        To be cancelled when the client is gone.
        """
        await self._log.ready()
        request_id, answer = self._expect(JoinAnswer)
        request = replace(request, request_id=request_id, unique=self._unique_text())
        self._carry_out(self._coordinator.join(group_id, request, now_ms=self._clock.monotonic_ms()))
        try:
            return await answer
        except asyncio.CancelledError:
            self._carry_out(self._coordinator.abandon(group_id, request_id, now_ms=self._clock.monotonic_ms()))
            raise

    async def sync(self, group_id: str, request: SyncRequest) -> SyncAnswer:
        """SyncGroup; answered when the leader's assignment is stored. `request_id` is filled in here."""
        request_id, answer = self._expect(SyncAnswer)
        request = replace(request, request_id=request_id)
        self._carry_out(self._coordinator.sync(group_id, request, now_ms=self._clock.monotonic_ms()))
        return await answer

    def heartbeat(self, group_id: str, member_id: str, group_instance_id: str | None, generation: int) -> ErrorCode:
        """Heartbeat."""
        now_ms = self._clock.monotonic_ms()
        return self._coordinator.heartbeat(group_id, member_id, group_instance_id, generation, now_ms=now_ms)

    def leave(self, group_id: str, members: Sequence[LeavingMember]) -> tuple[ErrorCode, ...]:
        """LeaveGroup: one error per member."""
        errors, effects = self._coordinator.leave(group_id, tuple(members), now_ms=self._clock.monotonic_ms())
        self._carry_out(effects)
        return errors

    def _expect(self, _body: type[T]) -> tuple[int, asyncio.Future[T]]:
        self._last_request_id += 1
        request_id = self._last_request_id
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        answer.add_done_callback(lambda _: self._waiting.pop(request_id, None))
        self._waiting[request_id] = answer
        return request_id, answer

    # Groups as an administrator sees them

    def is_available(self, group_id: str) -> bool:
        """Whether the group's stored state could be read; if not, all that is asked of it is COORDINATOR_NOT_AVAILABLE."""
        return self._log.holds(group_id)

    def group(self, group_id: str) -> Group | None:
        """A group to look at."""
        return self._coordinator.group(group_id)

    def groups(self) -> Iterable[Group]:
        """All groups, by id."""
        return self._coordinator.groups()

    @property
    def offsets_kept(self) -> int:
        """How many partitions' offsets are kept, of all groups."""
        return self._offsets.count

    async def delete_group(self, group_id: str) -> ErrorCode:
        """DeleteGroups: an empty group goes, with its offsets."""
        group = self._coordinator.group(group_id)
        if group is None or group.state is not GroupState.EMPTY:
            return self._coordinator.delete(group_id)  # refuses
        gone = self._tombstones(group_id)
        if not gone:
            return self._coordinator.delete(group_id)
        appending, stored_at_ms = self._log.append(group_id, gone), self._stored_at_ms.pop(group_id, 0)
        self._coordinator.delete(group_id)  # before we wait: nobody may join a group whose end is written
        error = await self._take_over(gone, appending)
        if error is not ErrorCode.none and self._coordinator.group(group_id) is None:
            self._restore(GroupRecord(group_id, group.snapshot(), stored_at_ms))
        return error

    def _tombstones(self, group_id: str) -> list[Record]:
        gone: list[Record] = [OffsetRecord(group_id, topic, partition, None) for topic, partition in self._offsets.of(group_id)]
        if group_id in self._stored_at_ms:
            gone.append(GroupRecord(group_id, None))
        return gone

    # Offsets

    def check_commit(self, group_id: str, member_id: str, group_instance_id: str | None, generation: int) -> ErrorCode:
        """Whether this member may commit offsets now."""
        now_ms = self._clock.monotonic_ms()
        return self._coordinator.check_commit(group_id, member_id, group_instance_id, generation, now_ms=now_ms)

    def commit(self, group_id: str, offsets: Sequence[tuple[Partition, CommittedOffset]]) -> Coroutine[None, None, ErrorCode]:
        """Store offsets that `check_commit` has allowed; a group that does not exist is made, without members.

        To be awaited; the offsets have their place in the order of commits now, unless the topic for them has to be made first.
        """
        if not self._log.is_there:
            return self._commit_first(group_id, offsets)
        self._coordinator.get_or_create(group_id)
        new: list[Record] = [OffsetRecord(group_id, topic, partition, each) for (topic, partition), each in offsets]
        return self._committed(new, self._log.append(group_id, new))

    async def _commit_first(self, group_id: str, offsets: Sequence[tuple[Partition, CommittedOffset]]) -> ErrorCode:
        await self._log.ready()
        return await self.commit(group_id, offsets) if self._log.is_there else ErrorCode.coordinator_not_available

    async def _committed(self, new: Sequence[Record], appending: Appending) -> ErrorCode:
        error = await self._take_over(new, appending)
        if error is ErrorCode.none:
            self.commits += len(new)
        return ErrorCode.invalid_commit_offset_size if error is ErrorCode.unknown_server_error else error

    def committed(self, group_id: str, topic: str, partition: int) -> CommittedOffset | None:
        """A group's offset for a partition; None where there is none, also for a group that does not exist."""
        return self._offsets.of(group_id).get((topic, partition))

    def all_committed(self, group_id: str) -> list[Partition]:
        """The partitions that the group has offsets for, in order."""
        return sorted(self._offsets.of(group_id))

    async def delete_offsets(self, group_id: str, partitions: Iterable[Partition]) -> ErrorCode:
        """OffsetDelete, for partitions that the group may lose."""
        there = self._offsets.of(group_id)
        return await self._write(group_id, [OffsetRecord(group_id, *each, None) for each in partitions if each in there])

    def subscribed(self, group: Group) -> frozenset[str] | None:
        """The topics that the group's members read; None if that cannot be known (a rebalance, or not consumers)."""
        if group.state is GroupState.EMPTY:
            return frozenset()
        if group.state is not GroupState.STABLE or group.protocol_type != CONSUMER_PROTOCOL_TYPE:
            return None
        each = [subscribed_topics(member.metadata(group.protocol_name)) for member in group.members.values()]
        known = [topics for topics in each if topics is not None]
        return frozenset().union(*known) if len(known) == len(each) else None

    def topic_deleted(self, topic: str) -> None:
        """Forget all offsets of a topic, so that one made anew under its name is not read from the middle."""
        self.spawn(self._forget_topic(topic))

    async def _forget_topic(self, topic: str) -> None:
        holders: dict[str, list[Record]] = {}
        for group_id, (_, partition) in self._offsets.holders_of(topic):
            holders.setdefault(group_id, []).append(OffsetRecord(group_id, topic, partition, None))
        for group_id, gone in holders.items():
            await self._write(group_id, gone)

    async def expire(self) -> None:
        """Drop offsets that have outlived their retention, then groups that have neither members nor offsets (KIP-211).

        Those for which a topic's retention is held stay: without them it would be held for good (ADR 0024).
        """
        now_ms = self._clock.wall_ms()
        retention_ms = self._broker.config.offsets_retention_minutes * 60_000
        for group in list(self._coordinator.groups()):
            had_members = group.state is GroupState.EMPTY and group.protocol_type is not None
            old = expired(
                self._offsets.of(group.group_id),
                inactive_since_ms=self._stored_at_ms.get(group.group_id) if had_members else None,
                subscribed=self.subscribed(group),
                retention_ms=retention_ms,
                now_ms=now_ms,
            )
            old = [each for each in old if not self._broker.holds.keeps(group.group_id, each[0])]
            if old:
                logger.info("offsets expired", extra={"group": group.group_id, "partitions": len(old)})
                await self._write(group.group_id, [OffsetRecord(group.group_id, *each, None) for each in old])
            if group.is_idle and not self._offsets.of(group.group_id):
                await self.delete_group(group.group_id)

    # Effects

    def _carry_out(self, effects: Effects) -> None:
        for effect in effects:
            if isinstance(effect, Answer):
                answer = self._waiting.get(effect.request_id)
                if answer is not None and not answer.done():
                    answer.set_result(effect.body)
            else:
                self._store(effect)
        self._wake_in_time()

    def _store(self, effect: StoreGroup) -> None:
        now_ms = self._clock.wall_ms()
        self._stored_at_ms[effect.group_id] = now_ms
        appending = self._log.append(effect.group_id, [GroupRecord(effect.group_id, effect.snapshot, now_ms)])
        self.spawn(self._store_later(effect, appending))

    async def _store_later(self, effect: StoreGroup, appending: Appending) -> None:
        error = await self._durable(appending)
        self.generations += error is ErrorCode.none
        self._stored(effect, error)

    def _stored(self, effect: StoreGroup, error: ErrorCode) -> None:
        self._carry_out(self._coordinator.on_stored(effect, error, now_ms=self._clock.monotonic_ms()))

    async def _write(self, group_id: str, new: Sequence[Record]) -> ErrorCode:
        """Append records and take them over once they are durable."""
        if not new:
            return ErrorCode.none
        return await self._take_over(new, self._log.append(group_id, new))

    async def _take_over(self, new: Sequence[Record], appending: Appending) -> ErrorCode:
        error = await self._durable(appending)
        for record in new if error is ErrorCode.none else ():
            if isinstance(record, OffsetRecord):
                self._offsets.apply(record)
        return error

    async def _durable(self, appending: Appending) -> ErrorCode:
        appended = await appending
        if isinstance(appended, ErrorCode):
            return appended
        await self._broker.waiters.high_watermark_reaches(appended.log, appended.end_offset)  # or the disk fails meanwhile
        return ErrorCode.none if appended.is_durable else ErrorCode.coordinator_not_available

    # Time

    def _wake_in_time(self) -> None:
        due_ms = self._coordinator.next_deadline_ms()
        if self._timer is not None:
            if due_ms == self._timer_due_ms:
                return
            self._timer.cancel()
            self._timer = None
        if due_ms is not None:
            delay_s = max(due_ms - self._clock.monotonic_ms(), 0) / 1000
            self._timer, self._timer_due_ms = asyncio.get_running_loop().call_later(delay_s, self._on_time), due_ms

    def _on_time(self) -> None:
        self._timer = None
        self._carry_out(self._coordinator.on_time(now_ms=self._clock.monotonic_ms()))

    def _schedule_expiry(self) -> None:
        interval_s = self._broker.config.offsets_retention_check_interval_ms / 1000
        self._expiry_timer = asyncio.get_running_loop().call_later(interval_s, self._on_expiry)

    def _on_expiry(self) -> None:
        self.spawn(self.expire())
        self._schedule_expiry()

    def spawn(self, work: Coroutine[None, None, R]) -> asyncio.Task[R]:
        """Do it whatever becomes of who wanted it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _settings(config: BrokerConfig) -> GroupSettings:
    return GroupSettings(
        initial_rebalance_delay_ms=config.group_initial_rebalance_delay_ms,
        min_session_timeout_ms=config.group_min_session_timeout_ms,
        max_session_timeout_ms=config.group_max_session_timeout_ms,
        max_size=config.group_max_size,
    )

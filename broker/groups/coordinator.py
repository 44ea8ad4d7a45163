"""All groups of a broker: which exist, whose time has come, and the rules about groups that do not exist. Pure, like `Group`.

Deadlines are kept in a heap by group; an entry may be too early (a heartbeat has moved the deadline since) and then only costs
a look, but never too late. So a heartbeat costs nothing here.
"""

import heapq
from collections.abc import Iterator

from headrace.broker.groups.group import Group
from headrace.broker.groups.messages import (
    Answer,
    Effects,
    GroupSettings,
    GroupSnapshot,
    JoinAnswer,
    JoinRequest,
    LeavingMember,
    StoreGroup,
    SyncAnswer,
    SyncRequest,
)
from headrace.broker.wire import ErrorCode


class GroupCoordinator:
    """Every group by its id. `now_ms` is monotonic."""

    def __init__(self, settings: GroupSettings) -> None:
        self._settings = settings
        self._groups: dict[str, Group] = {}
        self._heap: list[tuple[int, str]] = []
        self._scheduled: dict[str, int] = {}  # the entry of the heap that counts, by group

    def group(self, group_id: str) -> Group | None:
        return self._groups.get(group_id)

    def groups(self) -> Iterator[Group]:
        """All groups, by id."""
        return iter([self._groups[group_id] for group_id in sorted(self._groups)])

    def restore(self, group_id: str, snapshot: GroupSnapshot, *, now_ms: int) -> None:
        """Take over a group from the log, in place of what is known of it."""
        self._groups[group_id] = Group.restored(group_id, snapshot, self._settings, now_ms=now_ms)
        self._schedule(self._groups[group_id])

    def forget(self, group_id: str) -> None:
        """Drop a group that is dead or vacant."""
        self._groups.pop(group_id, None)
        self._scheduled.pop(group_id, None)

    def get_or_create(self, group_id: str) -> Group:
        if group_id not in self._groups:
            self._groups[group_id] = Group(group_id, self._settings)
        return self._groups[group_id]

    def join(self, group_id: str, request: JoinRequest, *, now_ms: int) -> Effects:
        """JoinGroup. A group is made for a member that has no id yet; a member with one must have got it from its group."""
        error = self._refusal(group_id, request)
        if error is not ErrorCode.none:
            return (Answer(request.request_id, JoinAnswer(error, request.member_id)),)
        group = self.get_or_create(group_id)
        effects = group.join(request, now_ms=now_ms)
        self._schedule(group)
        return effects

    def _refusal(self, group_id: str, request: JoinRequest) -> ErrorCode:
        if not group_id:
            return ErrorCode.invalid_group_id
        low, high = self._settings.min_session_timeout_ms, self._settings.max_session_timeout_ms
        if not low <= request.session_timeout_ms <= high:
            return ErrorCode.invalid_session_timeout
        if request.member_id and group_id not in self._groups:
            return ErrorCode.unknown_member_id
        return ErrorCode.none

    def sync(self, group_id: str, request: SyncRequest, *, now_ms: int) -> Effects:
        """SyncGroup."""
        group = self._groups.get(group_id) if group_id else None
        if group is None:
            return (Answer(request.request_id, SyncAnswer(_missing(group_id))),)
        effects = group.sync(request, now_ms=now_ms)
        self._schedule(group)
        return effects

    def on_stored(self, stored: StoreGroup, error: ErrorCode, *, now_ms: int) -> Effects:
        """What a StoreGroup effect asked for has been done or has failed."""
        group = self._groups.get(stored.group_id)
        if group is None:
            return ()
        effects = group.on_stored(stored, error, now_ms=now_ms)
        self._schedule(group)
        return effects

    def heartbeat(
        self, group_id: str, member_id: str, group_instance_id: str | None, generation: int, *, now_ms: int
    ) -> ErrorCode:
        """Heartbeat."""
        group = self._groups.get(group_id) if group_id else None
        if group is None:
            return _missing(group_id)
        return group.heartbeat(member_id, group_instance_id, generation, now_ms=now_ms)

    def leave(self, group_id: str, members: tuple[LeavingMember, ...], *, now_ms: int) -> tuple[tuple[ErrorCode, ...], Effects]:
        """LeaveGroup: one error per member."""
        group = self._groups.get(group_id) if group_id else None
        if group is None:
            return tuple(_missing(group_id) for _ in members), ()
        errors, effects = group.leave(members, now_ms=now_ms)
        self._schedule(group)
        return errors, effects

    def abandon(self, group_id: str, request_id: int, *, now_ms: int) -> Effects:
        """The client whose join this is has gone."""
        group = self._groups.get(group_id)
        if group is None:
            return ()
        effects = group.abandon(request_id, now_ms=now_ms)
        self._schedule(group)
        return effects

    def check_commit(
        self, group_id: str, member_id: str, group_instance_id: str | None, generation: int, *, now_ms: int
    ) -> ErrorCode:
        """Whether offsets may be committed to the group; ILLEGAL_GENERATION if it does not exist and a generation is named.

        "If the group does not exist and generation id is -1, the request comes from either the admin client or a consumer which
        does not use the group management facility. In this case, a so-called simple group is created and the request is
        accepted." The empty id is such a group too: old clients have it by default (KIP-289).
        """
        group = self._groups.get(group_id)
        if group is None:
            return ErrorCode.none if generation < 0 else ErrorCode.illegal_generation
        return group.check_commit(member_id, group_instance_id, generation, now_ms=now_ms)

    def delete(self, group_id: str) -> ErrorCode:
        """Make an empty group dead and forget it."""
        group = self._groups.get(group_id)
        error = ErrorCode.group_id_not_found if group is None else group.delete()
        if error is ErrorCode.none:
            self.forget(group_id)
        return error

    def next_deadline_ms(self) -> int | None:
        """When `on_time` wants to be called; None if nothing waits for time."""
        while self._heap and self._scheduled.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def on_time(self, *, now_ms: int) -> Effects:
        """Carry out what is due in any group; afterwards the next deadline is later than `now_ms`."""
        effects: list[Effects] = []
        while (deadline_ms := self.next_deadline_ms()) is not None and deadline_ms <= now_ms:
            _, group_id = heapq.heappop(self._heap)
            del self._scheduled[group_id]
            group = self._groups[group_id]
            effects.append(group.on_time(now_ms=now_ms))
            self._schedule(group)
        return tuple(effect for some in effects for effect in some)

    def _schedule(self, group: Group) -> None:
        deadline_ms = group.next_deadline_ms()
        known = self._scheduled.get(group.group_id)
        if deadline_ms is not None and (known is None or deadline_ms < known):
            self._scheduled[group.group_id] = deadline_ms
            heapq.heappush(self._heap, (deadline_ms, group.group_id))


def _missing(group_id: str) -> ErrorCode:
    """A group that is not there has no members (Kafka answers so too), nor has that of the empty id: it keeps offsets."""
    return ErrorCode.unknown_member_id if group_id else ErrorCode.invalid_group_id


def is_listed(group: Group, states: frozenset[str], types: frozenset[str]) -> bool:
    """Whether ListGroups with these filters (v4, v5; lower case; empty: all) shows the group. All of ours are classic."""
    return (not states or group.state.value.lower() in states) and (not types or "classic" in types)

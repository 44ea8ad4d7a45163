"""One classic consumer group: the pure core of JoinGroup, SyncGroup, Heartbeat and LeaveGroup.

Theory. Members join; once all are there (or the rebalance timeout has passed) a new generation begins: a protocol that all
support is chosen, every waiting join is answered, the leader alone is told of all members. The leader computes an assignment
and sends it with its sync; once it is stored, every waiting sync is answered and the group is stable. Any change of members
starts over. Every request of a generation carries its number, so that a member that missed one is fenced.

    Empty ──join──► PreparingRebalance ──all joined──► CompletingRebalance ──leader's sync stored──► Stable
      ▲                 │    ▲   ▲                             │                                      │
      └──none is left───┘    │   └──member comes, goes, times out─┘                                      │
                             └───────────────member comes, goes, times out────────────────────────────┘

Each method takes monotonic `now_ms` and returns effects, to be carried out in that order. Source: Kafka's ClassicGroup and
GroupMetadataManager (4.0), KIP-62, -134 (initial delay), -345 (static members), -394 (member id required), -814.
"""

from collections.abc import Mapping

from headrace.broker.groups.members import Member
from headrace.broker.groups.messages import (
    Answer,
    Effect,
    Effects,
    GroupSettings,
    GroupSnapshot,
    GroupState,
    JoinAnswer,
    JoinRequest,
    LeavingMember,
    StoreGroup,
    SyncAnswer,
    SyncRequest,
)
from headrace.broker.groups.roster import Roster
from headrace.broker.wire import ErrorCode

EMPTY, PREPARING, COMPLETING = GroupState.EMPTY, GroupState.PREPARING_REBALANCE, GroupState.COMPLETING_REBALANCE
STABLE, DEAD = GroupState.STABLE, GroupState.DEAD
TRANSITIONS = {
    EMPTY: (PREPARING, DEAD),
    PREPARING: (COMPLETING, EMPTY),
    COMPLETING: (STABLE, PREPARING),
    STABLE: (PREPARING,),
    DEAD: (),
}


class Group:
    """State of one group; changed through its methods only."""

    def __init__(self, group_id: str, settings: GroupSettings) -> None:
        """An empty group without a protocol type: what commits of offsets alone make ("simple group")."""
        self.group_id = group_id
        self.state = EMPTY
        self.generation = 0
        self.protocol_type: str | None = None
        self.protocol_name: str | None = None
        self.roster = Roster()
        self._unsynced: dict[str, None] = {}  # members that owe this generation's sync
        self._initial_rebalance_delay_ms = settings.initial_rebalance_delay_ms
        self._max_size = settings.max_size
        self._initial_remaining_ms: int | None = None  # set while a group that was empty waits for more members
        self._member_came_meanwhile = False
        self._join_deadline_ms: int | None = None  # set while PREPARING
        self._sync_deadline_ms: int | None = None  # set while _unsynced is not empty

    @classmethod
    def restored(cls, group_id: str, snapshot: GroupSnapshot, settings: GroupSettings, *, now_ms: int) -> "Group":
        """A group as it was stored: stable if it has members, else empty."""
        group = cls(group_id, settings)
        group.generation = snapshot.generation
        group.protocol_type = snapshot.protocol_type or None
        group.protocol_name = snapshot.protocol_name
        for stored in snapshot.members:
            group.roster.add(Member.restored(stored, snapshot.protocol_name or "", now_ms))
        if group.roster:
            group.state = STABLE
            if snapshot.leader in group.roster:
                group.roster.leader = snapshot.leader
        return group

    @property
    def members(self) -> Mapping[str, Member]:
        """The members by id, in order of arrival."""
        return self.roster.by_id

    @property
    def leader(self) -> str | None:
        """The member that assigns; None if there are no members."""
        return self.roster.leader

    @property
    def is_idle(self) -> bool:
        """Whether it is empty and nobody is about to join."""
        return self.state is EMPTY and not self.roster.reserved

    # Joining

    def join(self, request: JoinRequest, *, now_ms: int) -> Effects:
        """A member asks to join, or to join again."""
        if self.state is DEAD:
            return (_refuse_join(request, ErrorCode.coordinator_not_available),)
        if self._is_full(request.member_id):
            self.roster.reserved.pop(request.member_id, None)
            return (_refuse_join(request, ErrorCode.group_max_size_reached),)
        if not self._supports(request):
            return (_refuse_join(request, ErrorCode.inconsistent_group_protocol),)
        if not request.member_id:
            effects = self._join_anew(request, now_ms)
        elif request.member_id in self.roster.reserved:
            del self.roster.reserved[request.member_id]
            effects = self._add_member(request, request.member_id, now_ms)
        else:
            effects = self._join_again(request, now_ms)
        # The rebalance of a group that was empty waits for its delay even if all are there.
        if self.state is PREPARING and self._initial_remaining_ms is None and self.roster.all_joined():
            effects += self._complete_join(now_ms)
        return tuple(effects)

    def _supports(self, request: JoinRequest) -> bool:
        if self.state is EMPTY:
            return bool(request.protocol_type) and bool(request.protocols)
        return request.protocol_type == self.protocol_type and self.roster.support_one_of(request)

    def _is_full(self, member_id: str) -> bool:
        return member_id not in self.roster and len(self.roster) >= self._max_size

    def _join_anew(self, request: JoinRequest, now_ms: int) -> list[Effect]:
        member_id = f"{request.group_instance_id or request.client_id}-{request.unique}"
        if request.group_instance_id is not None:
            holder = self.roster.static_member(request.group_instance_id)
            if holder is not None:
                return self._replace_static_member(holder, request, member_id, now_ms)
        elif request.member_id_required:
            self.roster.reserved[member_id] = now_ms + request.session_timeout_ms
            return [Answer(request.request_id, JoinAnswer(ErrorCode.member_id_required, member_id))]
        return self._add_member(request, member_id, now_ms)

    def _add_member(self, request: JoinRequest, member_id: str, now_ms: int) -> list[Effect]:
        if not self.roster:
            self.protocol_type = request.protocol_type
        self.roster.add(Member.joining(request, member_id, now_ms))
        if self.state is PREPARING:
            self._member_came_meanwhile = True
            return []
        return self._prepare_rebalance(now_ms)

    def _join_again(self, request: JoinRequest, now_ms: int) -> list[Effect]:
        error = self.roster.check(request.member_id, request.group_instance_id)
        if error is not ErrorCode.none:
            return [_refuse_join(request, error)]
        member = self.roster[request.member_id]
        effects = self._answer_join(member, JoinAnswer(ErrorCode.rebalance_in_progress))  # an earlier request, given up
        changed = member.protocols != request.protocols
        # "Force a rebalance if the leader sends JoinGroup; this allows the leader to trigger rebalances for changes affecting
        # assignment which do not affect the member metadata (such as topic metadata changes)".
        if self.state is PREPARING or changed or (self.state is STABLE and self.roster.leader == member.member_id):
            member.update(request)
            return effects if self.state is PREPARING else effects + self._prepare_rebalance(now_ms)
        # It may have missed the answer: tell it the current generation again.
        member.hear(now_ms)
        return [*effects, Answer(request.request_id, self._join_answer(member))]

    def _replace_static_member(self, member: Member, request: JoinRequest, member_id: str, now_ms: int) -> list[Effect]:
        """A static member has started anew: it takes the place of its former self, who is fenced (KIP-345)."""
        replaced_id = member.member_id
        effects = self._dismiss(member, ErrorCode.fenced_instance_id)
        self.roster.rename(member, member_id)
        if replaced_id in self._unsynced:
            self._unsynced = {member_id if each == replaced_id else each: None for each in self._unsynced}
        member.update(request)
        member.is_new = False
        member.hear(now_ms)
        if self.state is PREPARING:
            return effects
        # While COMPLETING "the old member may already be sent to the leader for assignment": only a rebalance helps.
        if self.state is COMPLETING or self.roster.select_protocol() != self.protocol_name:
            return effects + self._prepare_rebalance(now_ms)
        return [*effects, StoreGroup(self.group_id, self.snapshot(), request, replaced_id)]

    # Rebalancing

    def _prepare_rebalance(self, now_ms: int) -> list[Effect]:
        effects: list[Effect] = []
        if self.state is COMPLETING:
            effects = self._fail_syncs(ErrorCode.rebalance_in_progress, now_ms)
        first = self.state is EMPTY and self._initial_rebalance_delay_ms > 0
        self._transition(PREPARING)
        self._unsynced.clear()
        self._sync_deadline_ms = None
        timeout_ms = self.roster.rebalance_timeout_ms()
        if first:
            self._initial_remaining_ms = max(timeout_ms - self._initial_rebalance_delay_ms, 0)
            self._member_came_meanwhile = False
            timeout_ms = self._initial_rebalance_delay_ms
        self._join_deadline_ms = now_ms + timeout_ms
        if not first and (not self.roster or self.roster.all_joined()):
            effects += self._complete_join(now_ms)
        return effects

    def _on_join_deadline(self, now_ms: int) -> list[Effect]:
        if self._initial_remaining_ms and self._member_came_meanwhile:  # KIP-134: more may come, wait a little longer
            extension_ms = min(self._initial_rebalance_delay_ms, self._initial_remaining_ms)
            self._initial_remaining_ms -= extension_ms
            self._member_came_meanwhile = False
            self._join_deadline_ms = now_ms + extension_ms
            return []
        return self._complete_join(now_ms)

    def _complete_join(self, now_ms: int) -> list[Effect]:
        """Begin the next generation with those who have joined; static members stay even if they have not."""
        missing = [m for m in self.roster if m.join_request_id is None and m.group_instance_id is None]
        effects = self._remove(missing)
        if self.roster and not self.roster.elect_leader():
            # Only absent static members are left: wait until they come back or their sessions end.
            self._join_deadline_ms = now_ms + self.roster.rebalance_timeout_ms()
            self._initial_remaining_ms = None
            return effects
        self._join_deadline_ms = self._initial_remaining_ms = None
        self.generation += 1
        if not self.roster:
            self.protocol_name = None
            self._transition(EMPTY)
            return [*effects, StoreGroup(self.group_id, self.snapshot())]
        self.protocol_name = self.roster.select_protocol()
        self._transition(COMPLETING)
        self._sync_deadline_ms = now_ms + self.roster.rebalance_timeout_ms()
        for member in self.roster:
            self._unsynced[member.member_id] = None
            effects += self._answer_join(member, self._join_answer(member))
            member.is_new = False
            member.hear(now_ms)
        return effects

    # Syncing

    def sync(self, request: SyncRequest, *, now_ms: int) -> Effects:
        """A member of this generation asks for its assignment; the leader's request brings everyone's."""
        error = self._check_sync(request)
        if error is not ErrorCode.none:
            return (Answer(request.request_id, SyncAnswer(error)),)
        member = self.roster[request.member_id]
        self._unsynced.pop(member.member_id, None)
        if not self._unsynced:
            self._sync_deadline_ms = None
        if self.state is STABLE:
            member.hear(now_ms)
            return (Answer(request.request_id, self._sync_answer(member)),)
        effects = self._answer_sync(member, SyncAnswer(ErrorCode.rebalance_in_progress), now_ms)  # given up
        member.sync_request_id = request.request_id
        if member.member_id == self.roster.leader:
            effects.append(StoreGroup(self.group_id, self.snapshot(dict(request.assignments))))
        return tuple(effects)

    def _check_sync(self, request: SyncRequest) -> ErrorCode:
        if self.state is DEAD:
            return ErrorCode.coordinator_not_available
        error = self.roster.check(request.member_id, request.group_instance_id)
        if error is not ErrorCode.none:
            return error
        if request.generation != self.generation:
            return ErrorCode.illegal_generation
        if request.protocol_type not in (None, self.protocol_type) or request.protocol_name not in (None, self.protocol_name):
            return ErrorCode.inconsistent_group_protocol
        return ErrorCode.rebalance_in_progress if self.state is PREPARING else ErrorCode.none

    def on_stored(self, stored: StoreGroup, error: ErrorCode, *, now_ms: int) -> Effects:
        """What `stored` asked for has been done, or has failed with an error that members may be told."""
        if stored.joining is not None:
            return tuple(self._on_static_member_stored(stored.joining, stored.replaced_member_id, error, now_ms))
        if self.state is not COMPLETING or stored.snapshot.generation != self.generation:
            return ()
        if error is not ErrorCode.none:
            return tuple(self._fail_syncs(error, now_ms) + self._prepare_rebalance(now_ms))
        self._transition(STABLE)
        effects: list[Effect] = []
        for each in stored.snapshot.members:
            if each.member_id in self.roster:
                member = self.roster[each.member_id]
                member.assignment = each.assignment
                effects += self._answer_sync(member, self._sync_answer(member), now_ms)
        return tuple(effects)

    def _on_static_member_stored(self, request: JoinRequest, replaced_id: str, error: ErrorCode, now_ms: int) -> list[Effect]:
        member = self.roster.static_member(request.group_instance_id)
        if member is None or member.join_request_id != request.request_id or self.state is not STABLE:
            return []  # it left, was replaced once more, or is answered by the rebalance that has begun
        member.hear(now_ms)
        if error is not ErrorCode.none:
            return self._answer_join(member, JoinAnswer(error))
        leads = self.roster.leader == member.member_id
        if leads and not request.can_skip_assignment:  # it must not assign: an old client is told of its former self as leader
            return self._answer_join(member, self._join_answer(member, leader=replaced_id))
        return self._answer_join(member, self._join_answer(member, skip_assignment=leads))

    # Staying and leaving

    def heartbeat(self, member_id: str, group_instance_id: str | None, generation: int, *, now_ms: int) -> ErrorCode:
        """A member says that it lives, and learns whether it must join again.

        "Consumers may start sending heartbeats after join-group response, while the group is in CompletingRebalance state.
        In this case, we should treat them as normal heartbeat requests and reset the timer."
        """
        if self.state is DEAD:
            return ErrorCode.coordinator_not_available
        error = self.roster.check(member_id, group_instance_id)
        if error is not ErrorCode.none:
            return error
        if generation != self.generation:
            return ErrorCode.illegal_generation
        self.roster[member_id].hear(now_ms)
        return ErrorCode.rebalance_in_progress if self.state is PREPARING else ErrorCode.none

    def leave(self, leaving: tuple[LeavingMember, ...], *, now_ms: int) -> tuple[tuple[ErrorCode, ...], Effects]:
        """Members leave, or an administrator removes them; one error each, then one rebalance for all."""
        errors: list[ErrorCode] = []
        gone: dict[str, Member] = {}
        for each in leaving:
            member_id = each.member_id
            if not member_id and (holder := self.roster.static_member(each.group_instance_id)):
                member_id = holder.member_id
            if self.roster.reserved.pop(member_id, None) is not None:
                errors.append(ErrorCode.none)
                continue
            errors.append(self.roster.check(member_id, each.group_instance_id))
            if errors[-1] is ErrorCode.none:
                gone[member_id] = self.roster[member_id]
        effects = self._remove(list(gone.values()))
        return tuple(errors), (*effects, *self._settle(bool(gone), now_ms))

    def abandon(self, request_id: int, *, now_ms: int) -> Effects:
        """The client whose join this is has gone.

        A new member that nobody waits for any more is dropped at once: else it would be given partitions, and keep them until
        its session ends. (Kafka cannot see that a client is gone while its join waits.) One that is known may come back.
        """
        gone = [m for m in self.roster if m.join_request_id == request_id and m.is_new and m.group_instance_id is None]
        return (*self._remove(gone), *self._settle(bool(gone), now_ms))

    def check_commit(self, member_id: str, group_instance_id: str | None, generation: int, *, now_ms: int) -> ErrorCode:
        """Whether offsets may be committed; a commit of a member counts as a heartbeat.

        "When the generation id is -1, the request comes from either the admin client or a consumer which does not use the
        group management facility. In this case, the request can commit offsets if the group is empty."
        """
        if self.state is DEAD:
            return ErrorCode.coordinator_not_available
        if generation < 0 and self.state is EMPTY:
            return ErrorCode.none
        if generation < 0 and not member_id and group_instance_id is None:
            return ErrorCode.unknown_member_id
        error = self.roster.check(member_id, group_instance_id)
        if error is not ErrorCode.none:
            return error
        if generation != self.generation:
            return ErrorCode.illegal_generation
        if self.state is COMPLETING:
            return ErrorCode.rebalance_in_progress
        self.roster[member_id].hear(now_ms)
        return ErrorCode.none

    def delete(self) -> ErrorCode:
        """Make an empty group dead; one with members is not deleted."""
        if self.state is DEAD:
            return ErrorCode.group_id_not_found
        if self.state is not EMPTY:
            return ErrorCode.non_empty_group
        self.roster.reserved.clear()
        self._transition(DEAD)
        return ErrorCode.none

    # Time

    def next_deadline_ms(self) -> int | None:
        """When `on_time` must be called at the latest; None if nothing waits for time."""
        times = (self._join_deadline_ms, self._sync_deadline_ms, *self.roster.deadlines_ms())
        return min((time for time in times if time is not None), default=None)

    def on_time(self, *, now_ms: int) -> Effects:
        """Carry out what is due; afterwards the next deadline is later than `now_ms`."""
        self.roster.drop_unused(now_ms)
        dead = self.roster.expired(now_ms)
        effects = self._remove(dead) + self._settle(bool(dead), now_ms)
        if self._join_deadline_ms is not None and self._join_deadline_ms <= now_ms:
            effects += self._on_join_deadline(now_ms)
        if self._sync_deadline_ms is not None and self._sync_deadline_ms <= now_ms:
            late = [self.roster[member_id] for member_id in self._unsynced]
            effects += self._remove(late) + self._settle(bool(late), now_ms)
        return tuple(effects)

    # Parts

    def snapshot(self, assignments: dict[str, bytes] | None = None) -> GroupSnapshot:
        """The group as it is to be stored; with the current assignments, or with those given."""
        members = self.roster.snapshot(self.protocol_name, assignments)
        return GroupSnapshot(self.protocol_type or "", self.generation, self.protocol_name, self.roster.leader, members)

    def _remove(self, members: list[Member]) -> list[Effect]:
        effects: list[Effect] = []
        for member in members:
            effects += self._dismiss(member, ErrorCode.unknown_member_id)
            self.roster.remove(member)
            self._unsynced.pop(member.member_id, None)
        return effects

    def _settle(self, members_went: bool, now_ms: int) -> list[Effect]:
        """What follows when members have gone."""
        if members_went and self.state in (STABLE, COMPLETING):
            return self._prepare_rebalance(now_ms)
        if self.state is PREPARING and self.roster.all_joined() and (self._initial_remaining_ms is None or not self.roster):
            return self._complete_join(now_ms)
        return []

    def _dismiss(self, member: Member, error: ErrorCode) -> list[Effect]:
        """Answer whatever it waits for with an error."""
        effects = self._answer_join(member, JoinAnswer(error))
        if member.sync_request_id is not None:
            effects.append(Answer(member.sync_request_id, SyncAnswer(error)))
            member.sync_request_id = None
        return effects

    def _fail_syncs(self, error: ErrorCode, now_ms: int) -> list[Effect]:
        effects: list[Effect] = []
        for member in self.roster:
            member.assignment = b""
            effects += self._answer_sync(member, SyncAnswer(error), now_ms)
        return effects

    def _answer_join(self, member: Member, answer: JoinAnswer) -> list[Effect]:
        if member.join_request_id is None:
            return []
        request_id, member.join_request_id = member.join_request_id, None
        return [Answer(request_id, answer)]

    def _answer_sync(self, member: Member, answer: SyncAnswer, now_ms: int) -> list[Effect]:
        """Its session begins anew: while it waited, no heartbeats were expected."""
        if member.sync_request_id is None:
            return []
        request_id, member.sync_request_id = member.sync_request_id, None
        member.hear(now_ms)
        return [Answer(request_id, answer)]

    def _join_answer(self, member: Member, *, leader: str | None = None, skip_assignment: bool = False) -> JoinAnswer:
        leader = leader if leader is not None else self.roster.leader
        assert leader is not None
        everyone = tuple(
            (m.member_id, m.group_instance_id, m.metadata(self.protocol_name))
            for m in self.roster
            if leader == member.member_id
        )
        return JoinAnswer(
            ErrorCode.none,
            member.member_id,
            self.generation,
            self.protocol_type,
            self.protocol_name,
            leader,
            everyone,
            skip_assignment,
        )

    def _sync_answer(self, member: Member) -> SyncAnswer:
        return SyncAnswer(ErrorCode.none, self.protocol_type, self.protocol_name, member.assignment)

    def _transition(self, to: GroupState) -> None:
        assert to in TRANSITIONS[self.state], f"group {self.group_id}: {self.state.value} → {to.value}"
        self.state = to


def _refuse_join(request: JoinRequest, error: ErrorCode) -> Effect:
    return Answer(request.request_id, JoinAnswer(error, request.member_id))

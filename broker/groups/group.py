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

from collections import Counter

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
        self.leader: str | None = None  # a key of members, or None if there are none
        self.members: dict[str, Member] = {}  # in order of arrival
        self._static: dict[str, str] = {}  # group instance id → member id
        self._reserved: dict[str, int] = {}  # member ids given out and not yet used → deadline
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
        group.generation, group.leader = snapshot.generation, snapshot.leader
        group.protocol_type = snapshot.protocol_type or None
        group.protocol_name = snapshot.protocol_name
        for stored in snapshot.members:
            group.members[stored.member_id] = Member.restored(stored, snapshot.protocol_name or "", now_ms)
            if stored.group_instance_id is not None:
                group._static[stored.group_instance_id] = stored.member_id
        if group.members:
            group.state = STABLE
            if group.leader not in group.members:
                group.leader = next(iter(group.members))
        return group

    @property
    def is_idle(self) -> bool:
        """Whether it is empty and nobody is about to join."""
        return self.state is EMPTY and not self._reserved

    # Joining

    def join(self, request: JoinRequest, *, now_ms: int) -> Effects:
        """A member asks to join, or to join again."""
        if self.state is DEAD:
            return (_refuse_join(request, ErrorCode.coordinator_not_available),)
        if self._is_full(request.member_id):
            self._reserved.pop(request.member_id, None)
            return (_refuse_join(request, ErrorCode.group_max_size_reached),)
        if not self._supports(request):
            return (_refuse_join(request, ErrorCode.inconsistent_group_protocol),)
        if not request.member_id:
            effects = self._join_anew(request, now_ms)
        elif request.member_id in self._reserved:
            del self._reserved[request.member_id]
            effects = self._add_member(request, request.member_id, now_ms)
        else:
            effects = self._join_again(request, now_ms)
        # The rebalance of a group that was empty waits for its delay even if all are there.
        if self.state is PREPARING and self._initial_remaining_ms is None and self._all_joined():
            effects += self._complete_join(now_ms)
        return tuple(effects)

    def _supports(self, request: JoinRequest) -> bool:
        if self.state is EMPTY:
            return bool(request.protocol_type) and bool(request.protocols)
        if request.protocol_type != self.protocol_type:
            return False
        return any(all(member.supports(name) for member in self.members.values()) for name, _ in request.protocols)

    def _is_full(self, member_id: str) -> bool:
        return member_id not in self.members and len(self.members) >= self._max_size

    def _join_anew(self, request: JoinRequest, now_ms: int) -> list[Effect]:
        member_id = f"{request.group_instance_id or request.client_id}-{request.unique}"
        if request.group_instance_id is not None:
            if request.group_instance_id in self._static:
                return self._replace_static_member(request, member_id, now_ms)
        elif request.member_id_required:
            self._reserved[member_id] = now_ms + request.session_timeout_ms
            return [Answer(request.request_id, JoinAnswer(ErrorCode.member_id_required, member_id))]
        return self._add_member(request, member_id, now_ms)

    def _add_member(self, request: JoinRequest, member_id: str, now_ms: int) -> list[Effect]:
        if not self.members:
            self.protocol_type = request.protocol_type
            self.leader = member_id
        self.members[member_id] = Member.joining(request, member_id, now_ms)
        if request.group_instance_id is not None:
            self._static[request.group_instance_id] = member_id
        if self.state is PREPARING:
            self._member_came_meanwhile = True
            return []
        return self._prepare_rebalance(now_ms)

    def _join_again(self, request: JoinRequest, now_ms: int) -> list[Effect]:
        error = self._check_member(request.member_id, request.group_instance_id)
        if error is not ErrorCode.none:
            return [_refuse_join(request, error)]
        member = self.members[request.member_id]
        effects = self._answer_join(member, JoinAnswer(ErrorCode.rebalance_in_progress))  # an earlier request, given up
        changed = member.protocols != request.protocols
        # "Force a rebalance if the leader sends JoinGroup; this allows the leader to trigger rebalances for changes affecting
        # assignment which do not affect the member metadata (such as topic metadata changes)".
        if self.state is PREPARING or changed or (self.state is STABLE and self.leader == member.member_id):
            member.update(request)
            return effects if self.state is PREPARING else effects + self._prepare_rebalance(now_ms)
        # It may have missed the answer: tell it the current generation again.
        member.hear(now_ms)
        return [*effects, Answer(request.request_id, self._join_answer(member))]

    def _replace_static_member(self, request: JoinRequest, member_id: str, now_ms: int) -> list[Effect]:
        """A static member has started anew: it takes the place of its former self, who is fenced (KIP-345)."""
        assert request.group_instance_id is not None
        replaced_id = self._static[request.group_instance_id]
        member = self.members[replaced_id]
        effects = self._dismiss(member, ErrorCode.fenced_instance_id)
        member.member_id = member_id
        self.members = {each.member_id: each for each in self.members.values()}
        self._static[request.group_instance_id] = member_id
        if self.leader == replaced_id:
            self.leader = member_id
        if replaced_id in self._unsynced:
            self._unsynced = {member_id if each == replaced_id else each: None for each in self._unsynced}
        member.update(request)
        member.is_new = False
        member.hear(now_ms)
        if self.state is PREPARING:
            return effects
        # While COMPLETING "the old member may already be sent to the leader for assignment": only a rebalance helps.
        if self.state is COMPLETING or self._select_protocol() != self.protocol_name:
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
        timeout_ms = self._rebalance_timeout_ms()
        if first:
            self._initial_remaining_ms = max(timeout_ms - self._initial_rebalance_delay_ms, 0)
            self._member_came_meanwhile = False
            timeout_ms = self._initial_rebalance_delay_ms
        self._join_deadline_ms = now_ms + timeout_ms
        if not first and (not self.members or self._all_joined()):
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
        missing = [m for m in self.members.values() if m.join_request_id is None and m.group_instance_id is None]
        effects = self._remove(missing)
        if self.members and not self._elect_leader():
            # Only absent static members are left: wait until they come back or their sessions end.
            self._join_deadline_ms = now_ms + self._rebalance_timeout_ms()
            self._initial_remaining_ms = None
            return effects
        self._join_deadline_ms = self._initial_remaining_ms = None
        self.generation += 1
        if not self.members:
            self.protocol_name = self.leader = None
            self._transition(EMPTY)
            return [*effects, StoreGroup(self.group_id, self.snapshot())]
        self.protocol_name = self._select_protocol()
        self._transition(COMPLETING)
        self._sync_deadline_ms = now_ms + self._rebalance_timeout_ms()
        for member in self.members.values():
            self._unsynced[member.member_id] = None
            effects += self._answer_join(member, self._join_answer(member))
            member.is_new = False
            member.hear(now_ms)
        return effects

    def _elect_leader(self) -> bool:
        """See to it that the leader is one who has joined; False if nobody has."""
        joined = [member.member_id for member in self.members.values() if member.join_request_id is not None]
        if joined and self.leader not in joined:
            self.leader = joined[0]
        return bool(joined)

    def _select_protocol(self) -> str:
        """The protocol with most votes among those that all support; the leader's order decides a tie."""
        assert self.leader is not None
        everyone = self.members.values()
        offered = [name for name, _ in self.members[self.leader].protocols]
        candidates = [name for name in offered if all(member.supports(name) for member in everyone)]
        votes = Counter(member.vote(candidates) for member in everyone)
        return max(candidates, key=lambda name: votes[name])  # max keeps the first of equals

    def _all_joined(self) -> bool:
        return not self._reserved and all(member.join_request_id is not None for member in self.members.values())

    def _rebalance_timeout_ms(self) -> int:
        return max((member.rebalance_timeout_ms for member in self.members.values()), default=0)

    # Syncing

    def sync(self, request: SyncRequest, *, now_ms: int) -> Effects:
        """A member of this generation asks for its assignment; the leader's request brings everyone's."""
        error = self._check_sync(request)
        if error is not ErrorCode.none:
            return (Answer(request.request_id, SyncAnswer(error)),)
        member = self.members[request.member_id]
        self._unsynced.pop(member.member_id, None)
        if not self._unsynced:
            self._sync_deadline_ms = None
        if self.state is STABLE:
            member.hear(now_ms)
            return (Answer(request.request_id, self._sync_answer(member)),)
        effects = self._answer_sync(member, SyncAnswer(ErrorCode.rebalance_in_progress), now_ms)  # given up
        member.sync_request_id = request.request_id
        if member.member_id == self.leader:
            effects.append(StoreGroup(self.group_id, self.snapshot(dict(request.assignments))))
        return tuple(effects)

    def _check_sync(self, request: SyncRequest) -> ErrorCode:
        if self.state is DEAD:
            return ErrorCode.coordinator_not_available
        error = self._check_member(request.member_id, request.group_instance_id)
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
            if member := self.members.get(each.member_id):
                member.assignment = each.assignment
                effects += self._answer_sync(member, self._sync_answer(member), now_ms)
        return tuple(effects)

    def _on_static_member_stored(self, request: JoinRequest, replaced_id: str, error: ErrorCode, now_ms: int) -> list[Effect]:
        assert request.group_instance_id is not None
        member = self.members.get(self._static.get(request.group_instance_id, ""))
        if member is None or member.join_request_id != request.request_id or self.state is not STABLE:
            return []  # it left, was replaced once more, or is answered by the rebalance that has begun
        member.hear(now_ms)
        if error is not ErrorCode.none:
            return self._answer_join(member, JoinAnswer(error))
        leads = self.leader == member.member_id
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
        error = self._check_member(member_id, group_instance_id)
        if error is not ErrorCode.none:
            return error
        if generation != self.generation:
            return ErrorCode.illegal_generation
        self.members[member_id].hear(now_ms)
        return ErrorCode.rebalance_in_progress if self.state is PREPARING else ErrorCode.none

    def leave(self, leaving: tuple[LeavingMember, ...], *, now_ms: int) -> tuple[tuple[ErrorCode, ...], Effects]:
        """Members leave, or an administrator removes them; one error each, then one rebalance for all."""
        errors: list[ErrorCode] = []
        gone: dict[str, Member] = {}
        for each in leaving:
            member_id = each.member_id
            if not member_id and each.group_instance_id is not None:
                member_id = self._static.get(each.group_instance_id, "")
            if self._reserved.pop(member_id, None) is not None:
                errors.append(ErrorCode.none)
                continue
            errors.append(self._check_member(member_id, each.group_instance_id))
            if errors[-1] is ErrorCode.none:
                gone[member_id] = self.members[member_id]
        effects = self._remove(list(gone.values()))
        return tuple(errors), (*effects, *self._settle(bool(gone), now_ms))

    def abandon(self, request_id: int, *, now_ms: int) -> Effects:
        """The client whose join this is has gone.

        A new member that nobody waits for any more is dropped at once: else it would be given partitions, and keep them until
        its session ends. (Kafka cannot see that a client is gone while its join waits.) One that is known may come back.
        """
        gone = [
            m for m in self.members.values() if m.join_request_id == request_id and m.is_new and m.group_instance_id is None
        ]
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
        error = self._check_member(member_id, group_instance_id)
        if error is not ErrorCode.none:
            return error
        if generation != self.generation:
            return ErrorCode.illegal_generation
        if self.state is COMPLETING:
            return ErrorCode.rebalance_in_progress
        self.members[member_id].hear(now_ms)
        return ErrorCode.none

    def delete(self) -> ErrorCode:
        """Make an empty group dead; one with members is not deleted."""
        if self.state is DEAD:
            return ErrorCode.group_id_not_found
        if self.state is not EMPTY:
            return ErrorCode.non_empty_group
        self._reserved.clear()
        self._transition(DEAD)
        return ErrorCode.none

    # Time

    def next_deadline_ms(self) -> int | None:
        """When `on_time` must be called at the latest; None if nothing waits for time."""
        times = [self._join_deadline_ms, self._sync_deadline_ms, *self._reserved.values()]
        times += [member.session_expires_at_ms() for member in self.members.values()]
        return min((time for time in times if time is not None), default=None)

    def on_time(self, *, now_ms: int) -> Effects:
        """Carry out what is due; afterwards the next deadline is later than `now_ms`."""
        unused = [member_id for member_id, deadline_ms in self._reserved.items() if deadline_ms <= now_ms]
        for member_id in unused:
            del self._reserved[member_id]
        dead = [m for m in self.members.values() if (at_ms := m.session_expires_at_ms()) is not None and at_ms <= now_ms]
        effects = self._remove(dead) + self._settle(bool(dead), now_ms)
        if self._join_deadline_ms is not None and self._join_deadline_ms <= now_ms:
            effects += self._on_join_deadline(now_ms)
        if self._sync_deadline_ms is not None and self._sync_deadline_ms <= now_ms:
            late = [self.members[member_id] for member_id in self._unsynced]
            effects += self._remove(late) + self._settle(bool(late), now_ms)
        return tuple(effects)

    # Parts

    def snapshot(self, assignments: dict[str, bytes] | None = None) -> GroupSnapshot:
        """The group as it is to be stored; with the current assignments, or with those given."""
        members = tuple(
            m.snapshot(self.protocol_name, m.assignment if assignments is None else assignments.get(m.member_id, b""))
            for m in self.members.values()
        )
        return GroupSnapshot(self.protocol_type or "", self.generation, self.protocol_name, self.leader, members)

    def _check_member(self, member_id: str, group_instance_id: str | None) -> ErrorCode:
        """That an instance id belongs to this member id, and that the member exists."""
        if group_instance_id is not None:
            current = self._static.get(group_instance_id)
            if current is not None and current != member_id:
                return ErrorCode.fenced_instance_id
            if current is None:
                return ErrorCode.unknown_member_id
        return ErrorCode.none if member_id in self.members else ErrorCode.unknown_member_id

    def _remove(self, members: list[Member]) -> list[Effect]:
        effects: list[Effect] = []
        for member in members:
            effects += self._dismiss(member, ErrorCode.unknown_member_id)
            del self.members[member.member_id]
            self._unsynced.pop(member.member_id, None)
            if member.group_instance_id is not None:
                del self._static[member.group_instance_id]
        if members and self.leader not in self.members:
            self.leader = next(iter(self.members), None)
        return effects

    def _settle(self, members_went: bool, now_ms: int) -> list[Effect]:
        """What follows when members have gone."""
        if members_went and self.state in (STABLE, COMPLETING):
            return self._prepare_rebalance(now_ms)
        if self.state is PREPARING and self._all_joined() and (self._initial_remaining_ms is None or not self.members):
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
        for member in self.members.values():
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
        leader = leader if leader is not None else self.leader
        assert leader is not None
        everyone = tuple(
            (m.member_id, m.group_instance_id, m.metadata(self.protocol_name))
            for m in self.members.values()
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

"""Who is in a group: members, the leader among them, instance ids, member ids given out, and what all of them support."""

from collections import Counter
from collections.abc import Iterator

from headrace.broker.groups.members import Member
from headrace.broker.groups.messages import JoinRequest, MemberSnapshot
from headrace.broker.wire import ErrorCode


class Roster:
    """The members of one group, in order of arrival. `leader` is one of them, None if there are none."""

    def __init__(self) -> None:
        self.by_id: dict[str, Member] = {}
        self.leader: str | None = None
        self.reserved: dict[str, int] = {}  # member ids given out and not yet used → deadline, monotonic ms
        self._static: dict[str, str] = {}  # group instance id → member id

    def __iter__(self) -> Iterator[Member]:
        return iter(self.by_id.values())

    def __len__(self) -> int:
        return len(self.by_id)

    def __contains__(self, member_id: object) -> bool:
        return member_id in self.by_id

    def __getitem__(self, member_id: str) -> Member:
        return self.by_id[member_id]

    def add(self, member: Member) -> None:
        """A new member; the first one leads."""
        self.by_id[member.member_id] = member
        if member.group_instance_id is not None:
            self._static[member.group_instance_id] = member.member_id
        if self.leader is None:
            self.leader = member.member_id

    def remove(self, member: Member) -> None:
        """The member goes; if it led, the one that came first leads."""
        del self.by_id[member.member_id]
        if member.group_instance_id is not None:
            del self._static[member.group_instance_id]
        if self.leader == member.member_id:
            self.leader = next(iter(self.by_id), None)

    def rename(self, member: Member, member_id: str) -> None:
        """A static member goes on under another id, in its place and in its rank."""
        assert member.group_instance_id is not None
        if self.leader == member.member_id:
            self.leader = member_id
        member.member_id = self._static[member.group_instance_id] = member_id
        self.by_id = {each.member_id: each for each in self}

    def static_member(self, group_instance_id: str | None) -> Member | None:
        """Who holds an instance id."""
        return None if group_instance_id is None else self.by_id.get(self._static.get(group_instance_id, ""))

    def check(self, member_id: str, group_instance_id: str | None) -> ErrorCode:
        """That an instance id, if one is named, belongs to this member id, and that the member exists."""
        if group_instance_id is not None:
            holder = self.static_member(group_instance_id)
            if holder is None:
                return ErrorCode.unknown_member_id
            if holder.member_id != member_id:
                return ErrorCode.fenced_instance_id
        return ErrorCode.none if member_id in self.by_id else ErrorCode.unknown_member_id

    def elect_leader(self) -> bool:
        """See to it that the leader is one whose join waits; False if there is none such."""
        joined = [member.member_id for member in self if member.join_request_id is not None]
        if joined and self.leader not in joined:
            self.leader = joined[0]
        return bool(joined)

    def all_joined(self) -> bool:
        """Whether every member's join waits, and nobody who has been given an id is still to come."""
        return not self.reserved and all(member.join_request_id is not None for member in self)

    def support_one_of(self, request: JoinRequest) -> bool:
        """Whether all members support one of the request's protocols."""
        return any(all(member.supports(name) for member in self) for name, _ in request.protocols)

    def select_protocol(self) -> str:
        """The protocol with most votes among those that all support; the leader's order decides a tie."""
        assert self.leader is not None
        offered = [name for name, _ in self.by_id[self.leader].protocols]
        candidates = [name for name in offered if all(member.supports(name) for member in self)]
        votes = Counter(member.vote(candidates) for member in self)
        return max(candidates, key=lambda name: votes[name])  # max keeps the first of equals

    def rebalance_timeout_ms(self) -> int:
        """The longest that a member asks for; 0 if there are none."""
        return max((member.rebalance_timeout_ms for member in self), default=0)

    def expired(self, now_ms: int) -> list[Member]:
        """Members whose sessions have ended."""
        return [m for m in self if (at_ms := m.session_expires_at_ms()) is not None and at_ms <= now_ms]

    def drop_unused(self, now_ms: int) -> None:
        """Forget reserved ids whose time is over."""
        self.reserved = {member_id: deadline_ms for member_id, deadline_ms in self.reserved.items() if deadline_ms > now_ms}

    def deadlines_ms(self) -> Iterator[int]:
        """When sessions and reserved ids end."""
        yield from self.reserved.values()
        for member in self:
            at_ms = member.session_expires_at_ms()
            if at_ms is not None:
                yield at_ms

    def snapshot(self, protocol_name: str | None, assignments: dict[str, bytes] | None) -> tuple[MemberSnapshot, ...]:
        """The members as they are to be stored; with their current assignments, or with those given."""
        return tuple(
            m.snapshot(protocol_name, m.assignment if assignments is None else assignments.get(m.member_id, b"")) for m in self
        )

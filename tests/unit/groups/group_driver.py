"""Drives one group's core by hand: requests by member's name, effects carried out at once, answers by request."""

from dataclasses import dataclass, field

from headrace.broker.groups.group import Group
from headrace.broker.groups.messages import (
    Answer,
    Effects,
    GroupSettings,
    JoinAnswer,
    JoinRequest,
    LeavingMember,
    StoreGroup,
    SyncAnswer,
    SyncRequest,
)
from headrace.broker.wire import ErrorCode

SETTINGS = GroupSettings(
    initial_rebalance_delay_ms=3_000, min_session_timeout_ms=6_000, max_session_timeout_ms=1_800_000, max_size=5
)
NO_DELAY = GroupSettings(
    initial_rebalance_delay_ms=0, min_session_timeout_ms=6_000, max_session_timeout_ms=1_800_000, max_size=5
)
RANGE = (("range", b"range-metadata"),)


@dataclass
class Driver:
    """`now_ms` is moved by hand; `store_error` is what storing a group answers, None leaves it pending in `stores`."""

    settings: GroupSettings = NO_DELAY
    now_ms: int = 1_000_000
    store_error: ErrorCode | None = ErrorCode.none
    answers: dict[int, JoinAnswer | SyncAnswer] = field(default_factory=dict)
    stores: list[StoreGroup] = field(default_factory=list)
    _requests: int = 0

    def __post_init__(self) -> None:
        self.group = Group("g", self.settings)

    def carry_out(self, effects: Effects) -> None:
        for effect in effects:
            if isinstance(effect, Answer):
                assert effect.request_id not in self.answers, "answered twice"
                self.answers[effect.request_id] = effect.body
                continue
            self.stores.append(effect)
            if self.store_error is not None:
                self.carry_out(self.group.on_stored(effect, self.store_error, now_ms=self.now_ms))

    def join(
        self,
        member_id: str = "",
        *,
        instance: str | None = None,
        protocols: tuple[tuple[str, bytes], ...] = RANGE,
        protocol_type: str = "consumer",
        session_timeout_ms: int = 10_000,
        rebalance_timeout_ms: int = 60_000,
        version: int = 3,
    ) -> int:
        """A JoinGroup of that version; the request's number, for `answers`."""
        self._requests += 1
        request = JoinRequest(
            self._requests, member_id, instance, "client", "/10.0.0.7", session_timeout_ms, rebalance_timeout_ms,
            protocol_type, protocols, f"id{self._requests}", version >= 4, version >= 9,
        )  # fmt: skip
        self.carry_out(self.group.join(request, now_ms=self.now_ms))
        return self._requests

    def sync(
        self,
        member_id: str,
        generation: int,
        assignments: dict[str, bytes] | None = None,
        *,
        instance: str | None = None,
        protocol: tuple[str | None, str | None] = (None, None),
    ) -> int:
        self._requests += 1
        given = tuple((assignments or {}).items())
        request = SyncRequest(self._requests, member_id, instance, generation, *protocol, given)
        self.carry_out(self.group.sync(request, now_ms=self.now_ms))
        return self._requests

    def leave(self, *members: LeavingMember) -> tuple[ErrorCode, ...]:
        errors, effects = self.group.leave(members, now_ms=self.now_ms)
        self.carry_out(effects)
        return errors

    def abandon(self, request: int) -> None:
        self.carry_out(self.group.abandon(request, now_ms=self.now_ms))

    def heartbeat(self, member_id: str, generation: int, instance: str | None = None) -> ErrorCode:
        return self.group.heartbeat(member_id, instance, generation, now_ms=self.now_ms)

    def pass_time(self, duration_ms: int) -> None:
        """Let time pass, keeping every deadline on the way."""
        end_ms = self.now_ms + duration_ms
        while (deadline_ms := self.group.next_deadline_ms()) is not None and deadline_ms <= end_ms:
            self.now_ms = max(deadline_ms, self.now_ms)
            self.carry_out(self.group.on_time(now_ms=self.now_ms))
            after_ms = self.group.next_deadline_ms()
            assert after_ms is None or after_ms > self.now_ms, "time does not progress"
        self.now_ms = end_ms

    def joined(self, request: int) -> JoinAnswer:
        answer = self.answers[request]
        assert isinstance(answer, JoinAnswer)
        return answer

    def synced(self, request: int) -> SyncAnswer:
        answer = self.answers[request]
        assert isinstance(answer, SyncAnswer)
        return answer

    def stable_group(self, count: int, *, instances: tuple[str | None, ...] = (), version: int = 3) -> list[str]:
        """Bring `count` members to a stable generation; their ids, the leader first."""
        names = instances or (None,) * count
        ids = [self.joined(self.join(instance=names[0], version=version)).member_id]
        for name in names[1:]:
            request = self.join(instance=name, version=version)
            again = [self.join(known, instance=names[at]) for at, known in enumerate(ids)]
            assert all(self.joined(each).error is ErrorCode.none for each in again)
            ids.append(self.joined(request).member_id)
        generation = self.group.generation
        for at, member_id in enumerate(ids[1:], 1):
            self.sync(member_id, generation, instance=names[at])
        self.sync(ids[0], generation, {each: f"for {each}".encode() for each in ids}, instance=names[0])
        return ids

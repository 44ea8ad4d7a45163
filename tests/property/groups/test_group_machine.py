"""Any order of joins, syncs, heartbeats, leaves, failures to store and jumps of time keeps the classic protocol's promises.

Members are clients as they are: they join, sync, may restart, go silent or leave, and follow the answers they get.
"""

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

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
    SyncRequest,
)
from headrace.broker.wire import ErrorCode

SESSION_MS, REBALANCE_MS, LONGEST_JUMP_MS = 10_000, 30_000, 400_000
SETTINGS = GroupSettings(
    initial_rebalance_delay_ms=500, min_session_timeout_ms=6_000, max_session_timeout_ms=1_800_000, max_size=4
)
CLIENTS = st.integers(0, 5)
PREFERENCES = st.sampled_from([("range",), ("range", "sticky"), ("sticky", "range")])


@dataclass
class Client:
    """What one client knows; clients 0 and 1 are static members."""

    instance: str | None
    member_id: str = ""
    generation: int = -1
    leads: bool = False
    members: tuple[str, ...] = ()


class GroupMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.group = Group("g", SETTINGS)
        self.now_ms = 1_000
        self.clients = [Client(f"i{number}" if number < 2 else None) for number in range(6)]
        self.asked: dict[int, Client] = {}  # requests that wait
        self.asked_at_ms: dict[int, int] = {}
        self.stores: list[StoreGroup] = []
        self.generations: dict[int, tuple[str | None, str]] = {}  # generation → protocol, leader
        self.highest_generation = 0
        self.requests = 0

    # Clients

    @rule(number=CLIENTS, preference=PREFERENCES, version=st.sampled_from([3, 5, 9]))
    def joins(self, number: int, preference: tuple[str, ...], version: int) -> None:
        client = self.clients[number]
        request_id = self._ask(client)
        protocols = tuple((name, f"{name} of {number}".encode()) for name in preference)
        request = JoinRequest(
            request_id, client.member_id, client.instance, f"c{number}", "/host", SESSION_MS, REBALANCE_MS,
            "consumer", protocols, f"u{request_id}", version >= 4, version >= 9,
        )  # fmt: skip
        self._carry_out(self.group.join(request, now_ms=self.now_ms))

    @rule(number=CLIENTS)
    def syncs(self, number: int) -> None:
        client = self.clients[number]
        request_id = self._ask(client)
        assignments = tuple((each, f"{client.generation}:{each}".encode()) for each in client.members)
        request = SyncRequest(request_id, client.member_id, client.instance, client.generation, None, None, assignments)
        self._carry_out(self.group.sync(request, now_ms=self.now_ms))

    @rule(number=CLIENTS)
    def heartbeats(self, number: int) -> None:
        client = self.clients[number]
        error = self.group.heartbeat(client.member_id, client.instance, client.generation, now_ms=self.now_ms)
        if error is ErrorCode.none:
            assert client.generation == self.group.generation
        if error in (ErrorCode.unknown_member_id, ErrorCode.fenced_instance_id):
            client.member_id = ""

    @rule(number=CLIENTS)
    def restarts(self, number: int) -> None:
        self.clients[number].member_id = ""
        self.clients[number].generation = -1

    @rule(number=CLIENTS)
    def leaves(self, number: int) -> None:
        client = self.clients[number]
        _, effects = self.group.leave((LeavingMember(client.member_id, client.instance),), now_ms=self.now_ms)
        client.member_id = ""
        self._carry_out(effects)

    @rule(number=CLIENTS)
    def commits(self, number: int) -> None:
        client = self.clients[number]
        error = self.group.check_commit(client.member_id, client.instance, client.generation, now_ms=self.now_ms)
        if error is ErrorCode.none and client.generation >= 0:
            assert client.generation == self.group.generation
            assert client.member_id in self.group.members

    @precondition(lambda self: self.asked)
    @rule(at=st.integers(0, 20))
    def disconnects(self, at: int) -> None:
        request_id = list(self.asked)[at % len(self.asked)]
        self._carry_out(self.group.abandon(request_id, now_ms=self.now_ms))

    # The log and the clock

    @precondition(lambda self: self.stores)
    @rule(error=st.sampled_from([ErrorCode.none, ErrorCode.none, ErrorCode.coordinator_not_available]))
    def stores_the_next(self, error: ErrorCode) -> None:
        self._carry_out(self.group.on_stored(self.stores.pop(0), error, now_ms=self.now_ms))

    @rule(duration_ms=st.sampled_from([1, 300, 4_000, 11_000, 31_000, LONGEST_JUMP_MS]), in_steps=st.booleans())
    def time_passes(self, duration_ms: int, in_steps: bool) -> None:
        """In steps every deadline is kept; otherwise the clock jumps over several at once."""
        end_ms = self.now_ms + duration_ms
        if in_steps:
            while (deadline_ms := self.group.next_deadline_ms()) is not None and deadline_ms <= end_ms:
                self._time(deadline_ms)
        self._time(end_ms)

    def _time(self, now_ms: int) -> None:
        self.now_ms = max(now_ms, self.now_ms)
        self._carry_out(self.group.on_time(now_ms=self.now_ms))
        deadline_ms = self.group.next_deadline_ms()
        assert deadline_ms is None or deadline_ms > self.now_ms, "timers always progress"

    def _ask(self, client: Client) -> int:
        self.requests += 1
        self.asked[self.requests] = client
        self.asked_at_ms[self.requests] = self.now_ms
        return self.requests

    def _carry_out(self, effects: Effects) -> None:
        for effect in effects:
            if isinstance(effect, StoreGroup):
                self.stores.append(effect)
            else:
                self._hear(effect)

    def _hear(self, answer: Answer) -> None:
        client = self.asked.pop(answer.request_id)  # a KeyError: answered twice
        body = answer.body
        if isinstance(body, JoinAnswer):
            if body.error is ErrorCode.none:
                self._check_join(body)
                client.generation, client.leads = body.generation, body.leader == body.member_id
                client.members = tuple(member_id for member_id, _, _ in body.members)
            if body.error in (ErrorCode.none, ErrorCode.member_id_required):
                client.member_id = body.member_id
        elif body.error is ErrorCode.none and body.assignment:
            assert body.assignment.startswith(f"{self.group.generation}:".encode()), "an assignment of its own generation"
        if body.error in (ErrorCode.unknown_member_id, ErrorCode.fenced_instance_id):
            client.member_id = ""

    def _check_join(self, body: JoinAnswer) -> None:
        assert body.generation == self.group.generation, "one generation is active at a time"
        protocol, leader = self.generations.setdefault(body.generation, (body.protocol_name, body.leader))
        assert protocol == body.protocol_name, "one protocol a generation"
        if leader != body.leader:  # the same static member under a new id, or under the one that it had
            assert leader.split("-")[0] == body.leader.split("-")[0]
            assert leader.startswith("i")
        for _, _, metadata in body.members:
            assert metadata.startswith(str(body.protocol_name).encode())

    # Promises

    @invariant()
    def generations_only_grow(self) -> None:
        assert self.group.generation >= self.highest_generation
        self.highest_generation = self.group.generation

    @invariant()
    def a_group_with_members_has_a_leader_among_them_and_keeps_time(self) -> None:
        if not self.group.members:
            assert self.group.leader is None or self.group.state is GroupState.PREPARING_REBALANCE
            return
        assert self.group.leader in self.group.members
        assert self.group.state is not GroupState.EMPTY
        assert len(self.group.members) <= SETTINGS.max_size

    @invariant()
    def who_waits_waits_for_a_deadline_or_for_the_log(self) -> None:
        if self.asked:
            assert self.group.next_deadline_ms() is not None or self.stores

    @invariant()
    def nobody_waits_for_ever(self) -> None:
        """Answers come within the timeouts of the members that hold them up, however clients behave meanwhile.

        The longest is a new member's five minutes; a jump of the clock over everything may come on top.
        """
        for request_id, asked_at_ms in self.asked_at_ms.items():
            if request_id in self.asked and not self.stores:
                assert self.now_ms - asked_at_ms <= 300_000 + 2 * REBALANCE_MS + SESSION_MS + LONGEST_JUMP_MS

    def teardown(self) -> None:
        """Heal: the log works, clients fall silent, time passes; then everybody has been answered and all have expired."""
        for _ in range(200):
            while self.stores:
                self._carry_out(self.group.on_stored(self.stores.pop(0), ErrorCode.none, now_ms=self.now_ms))
            deadline_ms = self.group.next_deadline_ms()
            if deadline_ms is None:
                break
            self._time(deadline_ms)
        assert not self.asked, "no member is left without an answer"
        assert self.group.state is GroupState.EMPTY
        assert self.group.next_deadline_ms() is None


GroupMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestGroupMachine = GroupMachine.TestCase

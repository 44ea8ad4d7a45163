"""A simulated coordinator with its log, and clients that follow the classic protocol over a network that loses what it likes.

One seed decides which requests and answers are lost or late, when clients die, start again, fall silent or get stuck, when
storing is slow or fails, and when the broker dies, of which only the log is left. Time is in ms and moved by hand.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from headrace.broker.groups.coordinator import GroupCoordinator
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
from headrace.broker.groups.records import GroupRecord, decode, encode
from headrace.broker.wire import ErrorCode

GROUP = "g"
PARTITIONS = range(6)
SESSION_MS, REBALANCE_MS, HEARTBEAT_MS, REQUEST_TIMEOUT_MS = 30_000, 10_000, 3_000, 25_000
SETTINGS = GroupSettings(
    initial_rebalance_delay_ms=250, min_session_timeout_ms=6_000, max_session_timeout_ms=1_800_000, max_size=100
)
Ownership = tuple[int, int, int]  # life of the broker, generation, partition


@dataclass
class Client:
    """One consumer. `slot` names it across restarts; even slots are static members; `life` counts its starts."""

    slot: int
    version: int
    life: int = 0
    up: bool = True
    member_id: str = ""
    generation: int = -1
    share: frozenset[int] | None = None  # the partitions it believes to own
    busy_since_ms: int | None = None  # waits for a join or a sync
    beat_at_ms: int = 0
    stuck_until_ms: int = 0  # its program is busy; its library goes on with heartbeats, whose answers nobody reads

    @property
    def instance(self) -> str | None:
        return f"static{self.slot}" if self.slot % 2 == 0 else None

    def reset(self, *, keep_id: bool = False) -> None:
        self.share = None
        self.busy_since_ms = None
        if not keep_id:
            self.member_id, self.generation = "", -1


@dataclass
class World:
    """Everything, advanced by `step`; `chaos` is the chance of each mishap."""

    random: random.Random
    chaos: float = 0.05
    now_ms: int = 1_000
    broker_life: int = 0
    requests: int = 0
    log: list[tuple[bytes, bytes | None]] = field(default_factory=list)
    stores: list[tuple[int, StoreGroup]] = field(default_factory=list)  # due, what
    network: list[tuple[int, int, Callable[[], None]]] = field(default_factory=list)  # due, order, what
    waiting: dict[int, tuple[Client, int]] = field(default_factory=dict)  # request → client and its life
    owners: dict[Ownership, int] = field(default_factory=dict)
    leaders: dict[tuple[int, int], tuple[str, str | None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.coordinator = GroupCoordinator(SETTINGS)
        self.clients = [Client(slot, self.random.choice([3, 5, 9])) for slot in range(4)]

    def _mishap(self) -> bool:
        return self.random.random() < self.chaos

    def step(self) -> None:
        self.now_ms += self.random.choice([1, 20, 100, 400, 1_000])
        for happening, share in (
            (self._broker_dies, 0.02),
            (self._a_client_dies_or_starts, 0.2),
            (self._a_client_leaves, 0.1),
            (self._a_client_gets_stuck, 0.2),
        ):
            if self._mishap() and self.random.random() < share:
                happening()
        for client in self.clients:
            if client.up:
                self._act(client)
        self._deliver()
        self._carry_out(self.coordinator.on_time(now_ms=self.now_ms))
        deadline_ms = self.coordinator.next_deadline_ms()
        assert deadline_ms is None or deadline_ms > self.now_ms, "timers progress"

    # Mishaps

    def _broker_dies(self) -> None:
        """Only the log is left; clients see their connections go."""
        self.coordinator = GroupCoordinator(SETTINGS)
        self.broker_life += 1
        self.stores.clear()
        self.network.clear()
        self.waiting.clear()
        for client in self.clients:
            if client.busy_since_ms is not None:
                client.reset(keep_id=True)
        last: GroupRecord | None = None
        for key, value in self.log:
            record = decode(key, value)
            assert isinstance(record, GroupRecord)
            last = record
        if last is not None and last.snapshot is not None:
            self.coordinator.restore(GROUP, last.snapshot, now_ms=self.now_ms)

    def _a_client_dies_or_starts(self) -> None:
        client = self.random.choice(self.clients)
        client.up = not client.up
        client.life += 1
        client.reset()

    def _a_client_leaves(self) -> None:
        client = self.random.choice(self.clients)
        if client.up and client.member_id:
            leaving = (LeavingMember(client.member_id, client.instance),)
            _, effects = self.coordinator.leave(GROUP, leaving, now_ms=self.now_ms)
            client.reset()
            self._carry_out(effects)

    def _a_client_gets_stuck(self) -> None:
        self.random.choice(self.clients).stuck_until_ms = self.now_ms + self.random.choice([3_000, 15_000])

    # Clients

    def _act(self, client: Client) -> None:
        if client.busy_since_ms is not None:
            if self.now_ms - client.busy_since_ms > REQUEST_TIMEOUT_MS:
                client.reset(keep_id=True)  # the answer is lost: ask again
            return
        if client.share is None:
            self._send(client, lambda request_id: self._join(client, request_id))
            return
        if self.now_ms >= client.beat_at_ms and not self._mishap():
            client.beat_at_ms = self.now_ms + HEARTBEAT_MS
            self._heartbeat(client)
        if client.share and self.now_ms >= client.stuck_until_ms and self.random.random() < 0.3:
            self._commit(client)

    def _send(self, client: Client, arrive: Callable[[int], None]) -> None:
        """A join or a sync is on its way, perhaps late, perhaps lost."""
        client.busy_since_ms = self.now_ms
        self.requests += 1
        request_id, life = self.requests, client.life
        if not self._mishap():
            self.waiting[request_id] = (client, life)
            self._later(lambda: arrive(request_id) if client.life == life else None)

    def _join(self, client: Client, request_id: int) -> None:
        request = JoinRequest(
            request_id, client.member_id, client.instance, f"c{client.slot}", "/h", SESSION_MS, REBALANCE_MS, "consumer",
            (("range", b"all"),), f"u{request_id}", client.version >= 4, client.version >= 9,
        )  # fmt: skip
        self._carry_out(self.coordinator.join(GROUP, request, now_ms=self.now_ms))

    def _sync(self, client: Client, request_id: int, members: list[str]) -> None:
        """An assignment is its generation's number, then partitions."""
        number = client.generation % 256
        shares = {member_id: bytes([number, *PARTITIONS[at :: len(members)]]) for at, member_id in enumerate(members)}
        request = SyncRequest(
            request_id, client.member_id, client.instance, client.generation, None, None, tuple(shares.items())
        )
        self._carry_out(self.coordinator.sync(GROUP, request, now_ms=self.now_ms))

    def _heartbeat(self, client: Client) -> None:
        error = self.coordinator.heartbeat(GROUP, client.member_id, client.instance, client.generation, now_ms=self.now_ms)
        if not self._mishap() and self.now_ms >= client.stuck_until_ms:
            self._obey(client, error)

    def _commit(self, client: Client) -> None:
        """Accepted commits show who owns what: nobody else may have committed the partition in the same generation."""
        assert client.share
        error = self.coordinator.check_commit(GROUP, client.member_id, client.instance, client.generation, now_ms=self.now_ms)
        if error is ErrorCode.none:
            for partition in client.share:
                owner = self.owners.setdefault((self.broker_life, self._generation(), partition), client.slot)
                assert owner == client.slot, f"{partition} belongs to {owner} and {client.slot} in one generation"
        self._obey(client, error)

    def _generation(self) -> int:
        group = self.coordinator.group(GROUP)
        assert group is not None
        return group.generation

    def _obey(self, client: Client, error: ErrorCode) -> None:
        """What a client does about an error."""
        if error in (ErrorCode.unknown_member_id, ErrorCode.fenced_instance_id):
            client.reset()
        elif error is not ErrorCode.none:
            client.reset(keep_id=True)

    # The broker's shell

    def _carry_out(self, effects: Effects) -> None:
        for effect in effects:
            if isinstance(effect, Answer):
                self._answer(effect)
            elif self._mishap():
                failed = ErrorCode.coordinator_not_available
                self._carry_out(self.coordinator.on_stored(effect, failed, now_ms=self.now_ms))
            else:
                key, value = encode(GroupRecord(GROUP, effect.snapshot, self.now_ms))
                self.log.append((key, value))
                slow_ms = self.random.choice([0, 50, 3_000]) if self._mishap() else 0
                self.stores.append((self.now_ms + slow_ms, effect))

    def _answer(self, answer: Answer) -> None:
        self._check(answer)
        client, life = self.waiting.pop(answer.request_id, (None, 0))
        if client is None or self._mishap():
            return
        request_at = client.busy_since_ms
        self._later(lambda: self._hear(client, answer) if (client.life, client.busy_since_ms) == (life, request_at) else None)

    def _check(self, answer: Answer) -> None:
        body = answer.body
        if isinstance(body, JoinAnswer) and body.error is ErrorCode.none and not body.skip_assignment:
            slot = body.leader.split("-")[0]  # a restarted static leader goes by its old id or by its new one
            told = self.leaders.setdefault((self.broker_life, body.generation), (slot, body.protocol_name))
            assert told == (slot, body.protocol_name), "one leader and one protocol a generation"

    def _hear(self, client: Client, answer: Answer) -> None:
        body = answer.body
        client.busy_since_ms = None
        if isinstance(body, SyncAnswer):
            if body.error is ErrorCode.none:
                assert body.assignment[:1] in (b"", bytes([client.generation % 256])), "an assignment of its own generation"
                client.share = frozenset(body.assignment[1:])
                client.beat_at_ms = self.now_ms + HEARTBEAT_MS
            self._obey(client, body.error)
            return
        if body.error is ErrorCode.member_id_required:
            client.member_id = body.member_id
        elif body.error is ErrorCode.none:
            client.member_id, client.generation = body.member_id, body.generation
            leads = body.leader == body.member_id and not body.skip_assignment
            members = [member_id for member_id, _, _ in body.members] if leads else []
            self._send(client, lambda request_id: self._sync(client, request_id, members))
        else:
            self._obey(client, body.error)

    def _later(self, what: Callable[[], None]) -> None:
        late_ms = self.random.choice([5, 500, 15_000]) if self._mishap() else 1
        self.network.append((self.now_ms + late_ms, len(self.network) + self.requests, what))

    def _deliver(self) -> None:
        while due := [entry for entry in self.network if entry[0] <= self.now_ms]:
            self.network = [entry for entry in self.network if entry[0] > self.now_ms]
            for _, _, what in sorted(due, key=lambda entry: entry[:2]):
                what()
        while self.stores and self.stores[0][0] <= self.now_ms:
            _, stored = self.stores.pop(0)
            self._carry_out(self.coordinator.on_stored(stored, ErrorCode.none, now_ms=self.now_ms))

    # What must hold in the end

    def heal(self) -> None:
        """From now on nothing goes wrong, and every client runs."""
        self.chaos = 0
        for client in self.clients:
            client.up = True
        deadline_ms = self.now_ms + 400_000  # a new member that fell silent is kept for five minutes at most
        while not self._settled():
            assert self.now_ms < deadline_ms, [(c.slot, c.member_id, c.generation, c.share) for c in self.clients]
            self.step()

    def _settled(self) -> bool:
        group = self.coordinator.group(GROUP)
        if group is None or group.state is not GroupState.STABLE or len(group.members) != len(self.clients):
            return False
        shares = [client.share for client in self.clients]
        owned = sorted(partition for share in shares if share for partition in share)
        return owned == list(PARTITIONS) and {client.generation for client in self.clients} == {group.generation}

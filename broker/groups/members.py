"""One member of a classic group, and what it waits for."""

from dataclasses import dataclass, field

from headrace.broker.groups.messages import JoinRequest, MemberSnapshot

# A member that has never been answered cannot send heartbeats, and a client that gave up cannot be told from one that waits,
# so new members may wait this long and no longer (Kafka: NEW_MEMBER_JOIN_TIMEOUT_MS, five minutes).
NEW_MEMBER_JOIN_TIMEOUT_MS = 300_000


@dataclass(slots=True)
class Member:
    """Owned by its `Group`. At most one of `join_request_id` and `sync_request_id` is set: the request that waits.

    `session_deadline_ms` is monotonic; it does not count while the member waits, unless `is_new`.
    """

    member_id: str
    group_instance_id: str | None
    client_id: str
    client_host: str
    rebalance_timeout_ms: int
    session_timeout_ms: int
    protocols: tuple[tuple[str, bytes], ...]
    session_deadline_ms: int
    assignment: bytes = b""
    is_new: bool = False
    join_request_id: int | None = None
    sync_request_id: int | None = None
    _metadata: dict[str, bytes] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._metadata = dict(self.protocols)

    @classmethod
    def joining(cls, request: JoinRequest, member_id: str, now_ms: int) -> "Member":
        """A member as it asks to join; its request waits."""
        return cls(
            member_id=member_id,
            group_instance_id=request.group_instance_id,
            client_id=request.client_id,
            client_host=request.client_host,
            rebalance_timeout_ms=request.rebalance_timeout_ms,
            session_timeout_ms=request.session_timeout_ms,
            protocols=request.protocols,
            session_deadline_ms=now_ms + NEW_MEMBER_JOIN_TIMEOUT_MS,
            is_new=True,
            join_request_id=request.request_id,
        )

    @classmethod
    def restored(cls, snapshot: MemberSnapshot, protocol_name: str, now_ms: int) -> "Member":
        """A member of a stored generation; its session begins anew, since its heartbeats were not heard meanwhile."""
        return cls(
            member_id=snapshot.member_id,
            group_instance_id=snapshot.group_instance_id,
            client_id=snapshot.client_id,
            client_host=snapshot.client_host,
            rebalance_timeout_ms=snapshot.rebalance_timeout_ms,
            session_timeout_ms=snapshot.session_timeout_ms,
            protocols=((protocol_name, snapshot.subscription),),
            session_deadline_ms=now_ms + snapshot.session_timeout_ms,
            assignment=snapshot.assignment,
        )

    def update(self, request: JoinRequest) -> None:
        """Take over what the member says as it joins again; its request waits."""
        self.protocols = request.protocols
        self._metadata = dict(request.protocols)
        self.rebalance_timeout_ms = request.rebalance_timeout_ms
        self.session_timeout_ms = request.session_timeout_ms
        self.client_id, self.client_host = request.client_id, request.client_host
        self.join_request_id = request.request_id

    def supports(self, protocol: str) -> bool:
        return protocol in self._metadata

    def metadata(self, protocol: str | None) -> bytes:
        """Its metadata for a protocol; empty where it has none."""
        return self._metadata.get(protocol, b"") if protocol is not None else b""

    def vote(self, candidates: list[str]) -> str:
        """The candidate that it likes best; it supports all of them."""
        return next(name for name, _ in self.protocols if name in candidates)

    def session_expires_at_ms(self) -> int | None:
        """When it counts as dead, if its session counts now.

        "Members that are awaiting a rebalance automatically satisfy expected heartbeats"; new ones do not (Kafka,
        `hasSatisfiedHeartbeat`).
        """
        waits = self.join_request_id is not None or self.sync_request_id is not None
        return None if waits and not self.is_new else self.session_deadline_ms

    def hear(self, now_ms: int) -> None:
        """It has shown that it lives."""
        self.session_deadline_ms = now_ms + self.session_timeout_ms

    def snapshot(self, protocol: str | None, assignment: bytes) -> MemberSnapshot:
        return MemberSnapshot(
            self.member_id,
            self.group_instance_id,
            self.client_id,
            self.client_host,
            self.rebalance_timeout_ms,
            self.session_timeout_ms,
            self.metadata(protocol),
            assignment,
        )

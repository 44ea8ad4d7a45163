"""What goes into a group's core and what comes out: settings, requests, answers, effects. All are frozen.

A request that cannot be answered at once carries a `request_id` chosen by the shell; the `Answer` effect gives it back.
Times that end in `_ms` are durations here; the core's clock is the `now_ms` handed to its methods.
"""

from dataclasses import dataclass
from enum import Enum

from headrace.broker.wire import ErrorCode


class GroupState(Enum):
    """The states of the classic protocol; the values are what DescribeGroups and ListGroups say."""

    EMPTY = "Empty"
    PREPARING_REBALANCE = "PreparingRebalance"
    COMPLETING_REBALANCE = "CompletingRebalance"
    STABLE = "Stable"
    DEAD = "Dead"


@dataclass(frozen=True, slots=True)
class GroupSettings:
    """Bounds of groups; Kafka's `group.*` keys."""

    initial_rebalance_delay_ms: int
    min_session_timeout_ms: int
    max_session_timeout_ms: int
    max_size: int


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """JoinGroup, free of versions.

    `member_id` is empty for a member that has none yet; `unique` is random text of the shell's, used if one must be made up.
    `member_id_required`: the client knows MEMBER_ID_REQUIRED (v4+, KIP-394). `can_skip_assignment`: it knows
    `skip_assignment` (v9+, KIP-814). `protocols` are (name, metadata) in the member's order of preference.
    """

    request_id: int
    member_id: str
    group_instance_id: str | None
    client_id: str
    client_host: str
    session_timeout_ms: int
    rebalance_timeout_ms: int
    protocol_type: str
    protocols: tuple[tuple[str, bytes], ...]
    unique: str
    member_id_required: bool
    can_skip_assignment: bool


@dataclass(frozen=True, slots=True)
class SyncRequest:
    """SyncGroup; `assignments` maps member id → assignment and is empty but from the leader. Names are None before v5."""

    request_id: int
    member_id: str
    group_instance_id: str | None
    generation: int
    protocol_type: str | None
    protocol_name: str | None
    assignments: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class LeavingMember:
    """One member of a LeaveGroup; an administrator names a static one by `group_instance_id` alone (KIP-345)."""

    member_id: str
    group_instance_id: str | None


@dataclass(frozen=True, slots=True)
class JoinAnswer:
    """JoinGroup's answer; `members` (member id, instance id, metadata) is told to the leader alone."""

    error: ErrorCode
    member_id: str = ""
    generation: int = -1
    protocol_type: str | None = None
    protocol_name: str | None = None
    leader: str = ""
    members: tuple[tuple[str, str | None, bytes], ...] = ()
    skip_assignment: bool = False


@dataclass(frozen=True, slots=True)
class SyncAnswer:
    """SyncGroup's answer."""

    error: ErrorCode
    protocol_type: str | None = None
    protocol_name: str | None = None
    assignment: bytes = b""


@dataclass(frozen=True, slots=True)
class MemberSnapshot:
    """A member as it is stored; `subscription` is its metadata for the group's protocol. Timeouts are in ms."""

    member_id: str
    group_instance_id: str | None
    client_id: str
    client_host: str
    rebalance_timeout_ms: int
    session_timeout_ms: int
    subscription: bytes
    assignment: bytes


@dataclass(frozen=True, slots=True)
class GroupSnapshot:
    """A group as it is stored: an empty one, or a stable generation with its assignment."""

    protocol_type: str
    generation: int
    protocol_name: str | None
    leader: str | None
    members: tuple[MemberSnapshot, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """Effect: answer a request that waits."""

    request_id: int
    body: JoinAnswer | SyncAnswer


@dataclass(frozen=True, slots=True)
class StoreGroup:
    """Effect: store the group, then tell the core through `on_stored`; effects after it do not wait for that.

    `joining` is the request of a static member that came back under a new id and is answered once that is stored.
    """

    group_id: str
    snapshot: GroupSnapshot
    joining: JoinRequest | None = None
    replaced_member_id: str = ""


Effect = Answer | StoreGroup
Effects = tuple[Effect, ...]

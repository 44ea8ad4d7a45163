"""The words of access control, and the interface through which every handler asks: who does what to which resource.

Pure. Numbers are those of Kafka's AclOperation and ResourceType (KIP-11, KIP-290), as they stand on the wire.
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import NamedTuple, Protocol


class Operation(IntEnum):
    """What is done."""

    ANY = 1
    ALL = 2
    READ = 3
    WRITE = 4
    CREATE = 5
    DELETE = 6
    ALTER = 7
    DESCRIBE = 8
    CLUSTER_ACTION = 9
    DESCRIBE_CONFIGS = 10
    ALTER_CONFIGS = 11
    IDEMPOTENT_WRITE = 12
    CREATE_TOKENS = 13
    DESCRIBE_TOKENS = 14
    TWO_PHASE_COMMIT = 15


class ResourceType(IntEnum):
    """To what kind of thing."""

    ANY = 1
    TOPIC = 2
    GROUP = 3
    CLUSTER = 4
    TRANSACTIONAL_ID = 5
    DELEGATION_TOKEN = 6
    USER = 7


CLUSTER_NAME = "kafka-cluster"  # the one resource of type CLUSTER

# What may be done to a thing of each kind, as answers with "authorized operations" tell it (Kafka's AclEntry).
OPERATIONS_ON: Mapping[ResourceType, tuple[Operation, ...]] = {
    ResourceType.TOPIC: (
        Operation.READ,
        Operation.WRITE,
        Operation.CREATE,
        Operation.DELETE,
        Operation.ALTER,
        Operation.DESCRIBE,
        Operation.DESCRIBE_CONFIGS,
        Operation.ALTER_CONFIGS,
    ),
    ResourceType.GROUP: (
        Operation.READ,
        Operation.DELETE,
        Operation.DESCRIBE,
        Operation.DESCRIBE_CONFIGS,
        Operation.ALTER_CONFIGS,
    ),
    ResourceType.CLUSTER: (
        Operation.CREATE,
        Operation.ALTER,
        Operation.DESCRIBE,
        Operation.CLUSTER_ACTION,
        Operation.DESCRIBE_CONFIGS,
        Operation.ALTER_CONFIGS,
        Operation.IDEMPOTENT_WRITE,
    ),
}


class Principal(NamedTuple):
    """Who a client is, as in `User:alice`. A tuple, because the authorizer looks answers up by it on every request."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


ANONYMOUS = Principal("User", "ANONYMOUS")  # whoever comes over a listener that does not authenticate


class Authorizer(Protocol):
    """Decides; the answer may change from one call to the next, as rules change."""

    def allows(self, principal: Principal, host: str, operation: Operation, kind: ResourceType, name: str) -> bool:
        """Whether a client at address `host` may do this to the resource of that kind and name."""
        ...

    def allows_some(self, principal: Principal, host: str, operation: Operation, kind: ResourceType) -> bool:
        """Whether it may do this to at least one resource of that kind, whichever (KIP-679)."""
        ...

    def denied(self, principal: Principal, host: str, operation: Operation, kind: ResourceType, name: str) -> None:
        """Take note that a client was refused that."""
        ...


class EverybodyMay:
    """Without an authorizer, as in Kafka."""

    def allows(self, principal: Principal, host: str, operation: Operation, kind: ResourceType, name: str) -> bool:  # noqa: ARG002 - the interface
        return True

    def allows_some(self, principal: Principal, host: str, operation: Operation, kind: ResourceType) -> bool:  # noqa: ARG002 - the interface
        return True

    def denied(self, principal: Principal, host: str, operation: Operation, kind: ResourceType, name: str) -> None:
        """Nobody is."""

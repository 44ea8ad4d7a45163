"""Access rules (ACLs): one rule, what is wrong with one, the filters that find them, and how one is kept in the store. Pure.

Source: Kafka's AclBinding, AclBindingFilter, ResourcePatternFilter (KIP-11, KIP-290) and AclControlManager (validation).
"""

import json
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from headrace.broker.security.access import CLUSTER_NAME, Operation, ResourceType
from headrace.errors import CorruptError, VersionError

WILDCARD: Final = "*"  # as a literal name: every resource of the kind; as a host: every host
EVERY_PRINCIPAL: Final = "User:*"
STORE_KIND: Final = "acl"  # under which rules are kept in the coordination store
_VERSION = 1


class PatternType(IntEnum):
    """How a rule's name is meant; ANY and MATCH are for filters only."""

    ANY = 1
    MATCH = 2
    LITERAL = 3
    PREFIXED = 4


class Permission(IntEnum):
    """What a rule says; ANY is for filters only."""

    ANY = 1
    DENY = 2
    ALLOW = 3


@dataclass(frozen=True, slots=True, order=True)
class AclBinding:
    """One rule: who, from which host, may or may not do what to which resources."""

    kind: ResourceType
    pattern: PatternType
    name: str
    principal: str
    host: str
    operation: Operation
    permission: Permission


@dataclass(frozen=True, slots=True)
class AclFilter:
    """Which rules are meant; None, and ANY, leave a field open. MATCH asks for all rules that apply to the resource `name`."""

    kind: ResourceType
    pattern: PatternType
    name: str | None
    principal: str | None
    host: str | None
    operation: Operation
    permission: Permission

    def matches(self, rule: AclBinding) -> bool:
        return (
            self.kind in (ResourceType.ANY, rule.kind)
            and self._matches_name(rule)
            and self.principal in (None, rule.principal)
            and self.host in (None, rule.host)
            and self.operation in (Operation.ANY, rule.operation)
            and self.permission in (Permission.ANY, rule.permission)
        )

    def _matches_name(self, rule: AclBinding) -> bool:
        if self.pattern not in (PatternType.ANY, PatternType.MATCH, rule.pattern):
            return False
        if self.name is None or self.name == rule.name:
            return True
        if self.pattern is not PatternType.MATCH:
            return False
        return self.name.startswith(rule.name) if rule.pattern is PatternType.PREFIXED else rule.name == WILDCARD


def fault(rule: AclBinding) -> str | None:
    """Why such a rule cannot be made, or None if it can."""
    if rule.kind is ResourceType.ANY:
        return "Invalid resourceType ANY"
    if rule.pattern not in (PatternType.LITERAL, PatternType.PREFIXED):
        return f"Invalid patternType {rule.pattern.name}"
    if rule.operation is Operation.ANY:
        return "Invalid operation ANY"
    if rule.permission is Permission.ANY:
        return "Invalid permissionType ANY"
    if not rule.name:
        return "Invalid empty resource name"
    if rule.kind is ResourceType.CLUSTER and rule.name != CLUSTER_NAME:
        return f"The only valid name for the CLUSTER resource is {CLUSTER_NAME}"
    if ":" not in rule.principal:
        return f"Could not parse principal from `{rule.principal}` (no colon separates its type from its name)"
    return None


def key_of(rule: AclBinding) -> str:
    """The key under which a rule is kept: equal rules have equal keys, so that none is kept twice."""
    said = [rule.kind.name, rule.pattern.name, rule.name, rule.principal, rule.host, rule.operation.name, rule.permission.name]
    return json.dumps(said, separators=(",", ":"))


def to_text(rule: AclBinding) -> str:
    """A rule as the store keeps it."""
    kept = {
        "version": _VERSION,
        "resource_type": rule.kind.name,
        "pattern_type": rule.pattern.name,
        "name": rule.name,
        "principal": rule.principal,
        "host": rule.host,
        "operation": rule.operation.name,
        "permission": rule.permission.name,
    }
    return json.dumps(kept)


def from_text(text: str) -> AclBinding:
    """A rule that the store has kept.

    Raises:
        VersionError: a newer headrace wrote it.
        CorruptError: it is no rule.
    """
    try:
        kept = json.loads(text)
        version = kept["version"]
        if version > _VERSION:
            raise VersionError(f"an access rule has version {version}; this headrace reads up to {_VERSION}: upgrade it")
        return AclBinding(
            ResourceType[kept["resource_type"]],
            PatternType[kept["pattern_type"]],
            str(kept["name"]),
            str(kept["principal"]),
            str(kept["host"]),
            Operation[kept["operation"]],
            Permission[kept["permission"]],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptError(f"an access rule in the store cannot be read: {text[:200]}") from error

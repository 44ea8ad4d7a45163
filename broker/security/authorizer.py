"""Decides by access rules, with the semantics of Kafka's StandardAuthorizer (KIP-801). Pure.

The rules that concern a resource are those of its very name, of `*`, and those PREFIXED with a beginning of it. Among them,
of those that name the client and its host, one DENY outweighs every ALLOW. An ALLOW of READ, WRITE, DELETE or ALTER allows
DESCRIBE too, one of ALTER_CONFIGS DESCRIBE_CONFIGS; a DENY implies nothing. What no rule allows is denied; only of a resource
that no rule concerns at all, whoever it names, `allow.everyone.if.no.acl.found` decides. Super users may do everything.

It is asked for every topic of every produce and fetch, so answers are kept until a rule changes.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Protocol

from headrace.broker.security.access import Operation, Principal, ResourceType
from headrace.broker.security.acls import EVERY_PRINCIPAL, WILDCARD, AclBinding, AclFilter, PatternType, Permission

_DESCRIBING = frozenset({Operation.DESCRIBE, Operation.READ, Operation.WRITE, Operation.DELETE, Operation.ALTER})
_DESCRIBING_CONFIGS = frozenset({Operation.DESCRIBE_CONFIGS, Operation.ALTER_CONFIGS})
_ALLOWED_BY = {Operation.DESCRIBE: _DESCRIBING, Operation.DESCRIBE_CONFIGS: _DESCRIBING_CONFIGS}
_KEPT_ANSWERS: Final = 20_000
_KEPT_NAME_LENGTH: Final = 255  # clients choose names: answers for longer ones are not kept, so memory is bounded
_ANY_NAME: Final = "hardcode"  # Kafka's: a name that no rule is likely to have


class _Rules:
    """The rules of one kind of resource, by name."""

    def __init__(self) -> None:
        self.literal: dict[str, set[AclBinding]] = {}
        self.prefixed: dict[str, set[AclBinding]] = {}
        self._prefix_lengths: list[int] = []

    def of_pattern(self, pattern: PatternType) -> dict[str, set[AclBinding]]:
        return self.prefixed if pattern is PatternType.PREFIXED else self.literal

    def put(self, rule: AclBinding) -> None:
        self.of_pattern(rule.pattern).setdefault(rule.name, set()).add(rule)

    def remove(self, rule: AclBinding) -> None:
        named = self.of_pattern(rule.pattern)
        named[rule.name].discard(rule)
        if not named[rule.name]:
            del named[rule.name]

    def changed(self) -> None:
        self._prefix_lengths = sorted({len(prefix) for prefix in self.prefixed})

    def concerning(self, name: str) -> Iterator[AclBinding]:
        """All rules that concern the resource `name`."""
        yield from self.literal.get(name, ())
        if name != WILDCARD:
            yield from self.literal.get(WILDCARD, ())
        for length in self._prefix_lengths:
            if length > len(name):
                return
            yield from self.prefixed.get(name[:length], ())


class Denied(Protocol):
    """Is told of what was refused."""

    def __call__(self, principal: Principal, host: str, operation: Operation, kind: ResourceType, name: str) -> None: ...


class AclAuthorizer:
    """An Authorizer by access rules."""

    def __init__(
        self,
        super_users: Iterable[str],
        *,
        allowed_without_rules: bool,
        rules: Iterable[AclBinding] = (),
        denied: Denied | None = None,
    ) -> None:
        """`super_users` are principals as text; `allowed_without_rules` is allow.everyone.if.no.acl.found."""
        self._denied = denied
        self._super_users = frozenset(super_users)
        self._allowed_without_rules = allowed_without_rules
        self._by_kind = {kind: _Rules() for kind in ResourceType}
        self._all: set[AclBinding] = set()
        self._answers: dict[tuple[Principal, str, Operation, ResourceType, str | None], bool] = {}
        self.change(rules, ())

    def change(self, added: Iterable[AclBinding], removed: Iterable[AclBinding]) -> None:
        """Take up new rules and drop old ones; effective with the next question."""
        for rule in removed:
            if rule in self._all:
                self._all.discard(rule)
                self._by_kind[rule.kind].remove(rule)
        for rule in added:
            self._all.add(rule)
            self._by_kind[rule.kind].put(rule)
        for rules in self._by_kind.values():
            rules.changed()
        self._answers.clear()

    def rules(self, wanted: AclFilter) -> Sequence[AclBinding]:
        """The rules that a filter finds, in order."""
        return sorted(rule for rule in self._all if wanted.matches(rule))

    def has(self, rule: AclBinding) -> bool:
        return rule in self._all

    def __len__(self) -> int:
        return len(self._all)

    @property
    def kept_answers(self) -> int:
        """How many answers are kept; bounded."""
        return len(self._answers)

    def allows(self, principal: Principal, host: str, operation: Operation, kind: ResourceType, name: str) -> bool:
        key = (principal, host, operation, kind, name)
        answer = self._answers.get(key)
        if answer is None:
            answer = self._decide(principal, host, operation, kind, name)
            if len(name) <= _KEPT_NAME_LENGTH:
                self._keep(key, answer)
        return answer

    def allows_some(self, principal: Principal, host: str, operation: Operation, kind: ResourceType) -> bool:
        key = (principal, host, operation, kind, None)
        answer = self._answers.get(key)
        if answer is None:
            answer = self._decide(principal, host, operation, kind, _ANY_NAME) or self._some(principal, host, operation, kind)
            self._keep(key, answer)
        return answer

    def denied(self, principal: Principal, host: str, operation: Operation, kind: ResourceType, name: str) -> None:
        if self._denied is not None:
            self._denied(principal, host, operation, kind, name)

    def _keep(self, key: tuple[Principal, str, Operation, ResourceType, str | None], answer: bool) -> None:
        if len(self._answers) >= _KEPT_ANSWERS:
            self._answers.clear()
        self._answers[key] = answer

    def _decide(self, principal: Principal, host: str, operation: Operation, kind: ResourceType, name: str) -> bool:
        who = str(principal)
        if who in self._super_users:
            return True
        allowing = _ALLOWED_BY.get(operation, (operation,))
        concerned = allowed = False
        for rule in self._by_kind[kind].concerning(name):
            concerned = True
            if rule.principal not in (who, EVERY_PRINCIPAL) or rule.host not in (host, WILDCARD):
                continue
            if rule.permission is Permission.ALLOW:
                allowed = allowed or rule.operation is Operation.ALL or rule.operation in allowing
            elif rule.operation in (Operation.ALL, operation):
                return False
        return allowed if concerned else self._allowed_without_rules

    def _some(self, principal: Principal, host: str, operation: Operation, kind: ResourceType) -> bool:
        """Whether an ALLOW is left that no DENY covers whole (Kafka's Authorizer.authorizeByResourceType)."""
        who, rules = str(principal), self._by_kind[kind]

        def says(rule: AclBinding) -> bool:
            applies = rule.principal in (who, EVERY_PRINCIPAL) and rule.host in (host, WILDCARD)
            return applies and rule.operation in (operation, Operation.ALL)

        def names(named: dict[str, set[AclBinding]], permission: Permission) -> set[str]:
            return {name for name, each in named.items() if any(rule.permission is permission and says(rule) for rule in each)}

        denied, denied_prefixes = names(rules.literal, Permission.DENY), names(rules.prefixed, Permission.DENY)
        allowed = names(rules.literal, Permission.ALLOW)
        if WILDCARD in denied:
            return False
        if WILDCARD in allowed:
            return True
        left = (allowed - denied) | names(rules.prefixed, Permission.ALLOW)
        return any(not any(name[:end] in denied_prefixes for end in range(1, len(name) + 1)) for name in left)

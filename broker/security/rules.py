"""A broker's access rules: durable in the coordination store, and in force in the authorizer."""

import logging
from collections.abc import Sequence
from functools import partial

from headrace.broker.coordination.changes import Change
from headrace.broker.coordination.store import CoordinationStore
from headrace.broker.keys.access import AccessKeys, parse_super_users
from headrace.broker.security.acls import STORE_KIND, AclBinding, AclFilter, from_text, key_of, to_text
from headrace.broker.security.authorizer import AclAuthorizer, Denied

logger = logging.getLogger(__name__)


class AccessRules:
    """Every change is durable before it is in force."""

    def __init__(self, store: CoordinationStore, keys: AccessKeys, denied: Denied | None = None) -> None:
        """Take the rules from the store; `denied` is told of every refusal.

        Raises:
            VersionError, CorruptError: a rule there cannot be read; to go on without it could allow what it denies.
        """
        self._store = store
        self.authorizer = AclAuthorizer(
            parse_super_users(keys.super_users),
            allowed_without_rules=keys.allow_everyone_if_no_acl_found,
            rules=[from_text(text) for text in store.entries(STORE_KIND).values()],
            denied=denied,
        )

    def find(self, wanted: AclFilter) -> Sequence[AclBinding]:
        """The rules that a filter finds, in order."""
        return self.authorizer.rules(wanted)

    def add(self, rules: Sequence[AclBinding]) -> Change[None]:
        """Make rules, all or none; one that is there already stays as it is.

        Raises:
            StorageError: the store fails; nothing has changed.
        """
        new = [rule for rule in dict.fromkeys(rules) if not self.authorizer.has(rule)]
        if new:
            yield partial(self._store.change_entries, STORE_KIND, {key_of(rule): to_text(rule) for rule in new})
            self.authorizer.change(new, ())
        for rule in new:
            logger.info("access rule made", extra={"rule": key_of(rule)})

    def remove(self, rules: Sequence[AclBinding]) -> Change[None]:
        """Drop rules, all or none.

        Raises:
            StorageError: the store fails; nothing has changed.
        """
        if rules:
            yield partial(self._store.change_entries, STORE_KIND, {key_of(rule): None for rule in rules})
            self.authorizer.change((), rules)
        for rule in rules:
            logger.info("access rule dropped", extra={"rule": key_of(rule)})

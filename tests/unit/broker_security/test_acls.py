"""Access rules: which can be made, which a filter finds, and what the store gives back."""

import json

import pytest

from headrace.broker.coordination.changes import made_here
from headrace.broker.keys.access import AccessKeys
from headrace.broker.security.access import CLUSTER_NAME, Operation, Principal, ResourceType
from headrace.broker.security.acls import AclBinding, AclFilter, PatternType, Permission, fault, from_text, key_of, to_text
from headrace.broker.security.rules import AccessRules
from headrace.errors import CorruptError, VersionError
from tests.memory_store import MemoryStore

TOPIC = ResourceType.TOPIC
LITERAL, PREFIXED, MATCH, ANY = PatternType.LITERAL, PatternType.PREFIXED, PatternType.MATCH, PatternType.ANY
LOGS = AclBinding(TOPIC, LITERAL, "logs", "User:alice", "10.0.0.7", Operation.READ, Permission.ALLOW)
PREFIX = AclBinding(TOPIC, PREFIXED, "lo", "User:bob", "*", Operation.WRITE, Permission.DENY)
STAR = AclBinding(TOPIC, LITERAL, "*", "User:*", "*", Operation.DESCRIBE, Permission.ALLOW)
CLUSTER = AclBinding(ResourceType.CLUSTER, LITERAL, CLUSTER_NAME, "User:alice", "*", Operation.ALTER, Permission.ALLOW)
EVERY_RULE = [LOGS, PREFIX, STAR, CLUSTER]


def found(**fields: object) -> list[AclBinding]:
    open_fields = {
        "kind": ResourceType.ANY,
        "pattern": ANY,
        "name": None,
        "principal": None,
        "host": None,
        "operation": Operation.ANY,
        "permission": Permission.ANY,
    }
    wanted = AclFilter(**{**open_fields, **fields})  # type: ignore[arg-type]  # whatever the test names
    return [rule for rule in EVERY_RULE if wanted.matches(rule)]


def test_a_filter_with_nothing_said_finds_all() -> None:
    assert found() == EVERY_RULE


def test_a_filter_finds_by_each_field() -> None:
    assert found(kind=ResourceType.CLUSTER) == [CLUSTER]
    assert found(pattern=PREFIXED) == [PREFIX]
    assert found(principal="User:alice") == [LOGS, CLUSTER]
    assert found(principal="User:*") == [STAR]
    assert found(host="10.0.0.7") == [LOGS]
    assert found(host="*") == [PREFIX, STAR, CLUSTER]
    assert found(operation=Operation.WRITE) == [PREFIX]
    assert found(operation=Operation.ALL) == []
    assert found(permission=Permission.DENY) == [PREFIX]


def test_names_are_compared_as_they_stand_unless_what_matches_is_asked_for() -> None:
    assert found(name="logs", pattern=ANY) == [LOGS]
    assert found(name="logs", pattern=LITERAL) == [LOGS]
    assert found(name="lo", pattern=PREFIXED) == [PREFIX]
    assert found(name="logs", pattern=PREFIXED) == []
    assert found(kind=TOPIC, name="logs", pattern=MATCH) == [LOGS, PREFIX, STAR]
    assert found(kind=TOPIC, name="lo", pattern=MATCH) == [PREFIX, STAR]
    assert found(kind=TOPIC, name="other", pattern=MATCH) == [STAR]


@pytest.mark.parametrize(
    "rule",
    [
        AclBinding(ResourceType.ANY, LITERAL, "x", "User:a", "*", Operation.READ, Permission.ALLOW),
        AclBinding(TOPIC, MATCH, "x", "User:a", "*", Operation.READ, Permission.ALLOW),
        AclBinding(TOPIC, ANY, "x", "User:a", "*", Operation.READ, Permission.ALLOW),
        AclBinding(TOPIC, LITERAL, "", "User:a", "*", Operation.READ, Permission.ALLOW),
        AclBinding(TOPIC, LITERAL, "x", "a", "*", Operation.READ, Permission.ALLOW),
        AclBinding(TOPIC, LITERAL, "x", "User:a", "*", Operation.ANY, Permission.ALLOW),
        AclBinding(TOPIC, LITERAL, "x", "User:a", "*", Operation.READ, Permission.ANY),
        AclBinding(ResourceType.CLUSTER, LITERAL, "other", "User:a", "*", Operation.ALTER, Permission.ALLOW),
    ],
)
def test_rules_that_cannot_be(rule: AclBinding) -> None:
    assert fault(rule) is not None


def test_rules_that_can_be_come_back_from_the_store_as_they_were() -> None:
    odd = AclBinding(ResourceType.GROUP, LITERAL, '["x",\n"ü"]', "User:CN=a,O=b", "::1", Operation.ALL, Permission.DENY)
    for rule in (*EVERY_RULE, odd):
        assert fault(rule) is None
        assert from_text(to_text(rule)) == rule
    assert len({key_of(rule) for rule in (*EVERY_RULE, odd)}) == 5


def test_a_kept_rule_of_a_newer_version_is_refused_and_a_damaged_one_too() -> None:
    with pytest.raises(VersionError):
        from_text(json.dumps({**json.loads(to_text(LOGS)), "version": 2}))
    for text in ("", "[]", "{}", to_text(LOGS).replace("TOPIC", "TUPIC"), to_text(LOGS).replace('"logs"', "null, 5")):
        with pytest.raises(CorruptError):
            from_text(text)


def test_a_rule_that_cannot_be_read_stops_the_broker_rather_than_being_left_out() -> None:
    store = MemoryStore()
    store.change_entries("acl", {"denies": "{}"})
    with pytest.raises(CorruptError):
        AccessRules(store, AccessKeys())


def test_rules_outlive_the_process_that_made_them() -> None:
    store = MemoryStore()
    before = AccessRules(store, AccessKeys())
    made_here(before.add([LOGS, STAR, LOGS]))
    made_here(before.add([LOGS]))
    made_here(before.remove([STAR]))
    after = AccessRules(store, AccessKeys())
    assert list(after.find(AclFilter(ResourceType.ANY, ANY, None, None, None, Operation.ANY, Permission.ANY))) == [LOGS]
    assert after.authorizer.allows(Principal("User", "alice"), "10.0.0.7", Operation.READ, TOPIC, "logs")


@pytest.mark.parametrize("text", ["admin", "User:", ":admin", "User:a;b"])
def test_super_users_that_are_no_principals_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="Type:name"):
        AccessKeys.model_validate({"super.users": text})


def test_super_users_are_separated_by_semicolons_as_names_have_commas() -> None:
    keys = AccessKeys.model_validate({"super.users": "User:CN=a,O=b ; User:admin;"})
    rules = AccessRules(MemoryStore(), keys)
    for name in ("CN=a,O=b", "admin"):
        assert rules.authorizer.allows(Principal("User", name), "::1", Operation.ALTER, ResourceType.CLUSTER, CLUSTER_NAME)

"""The authorizer has the semantics of Kafka's StandardAuthorizer; a plain reading of its rules is the judge of random ones."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.broker.security.access import CLUSTER_NAME, Operation, Principal, ResourceType
from headrace.broker.security.acls import AclBinding, PatternType, Permission
from headrace.broker.security.authorizer import AclAuthorizer

ALICE, BOB = Principal("User", "alice"), Principal("User", "bob")
HOST = "10.1.2.3"
TOPIC, GROUP, CLUSTER = ResourceType.TOPIC, ResourceType.GROUP, ResourceType.CLUSTER
ALLOW, DENY = Permission.ALLOW, Permission.DENY
LITERAL, PREFIXED = PatternType.LITERAL, PatternType.PREFIXED
READ, WRITE, DESCRIBE = Operation.READ, Operation.WRITE, Operation.DESCRIBE


def rule(
    operation: Operation,
    name: str = "logs",
    *,
    kind: ResourceType = TOPIC,
    pattern: PatternType = LITERAL,
    principal: str = "User:alice",
    host: str = "*",
    permission: Permission = ALLOW,
) -> AclBinding:
    return AclBinding(kind, pattern, name, principal, host, operation, permission)


def authorizer(*rules: AclBinding, super_users: Sequence[str] = (), open_without: bool = False) -> AclAuthorizer:
    return AclAuthorizer(super_users, allowed_without_rules=open_without, rules=rules)


def may(
    judge: AclAuthorizer,
    operation: Operation,
    name: str = "logs",
    *,
    who: Principal = ALICE,
    host: str = HOST,
    kind: ResourceType = TOPIC,
) -> bool:
    first = judge.allows(who, host, operation, kind, name)
    assert judge.allows(who, host, operation, kind, name) is first, "an answer that is kept differs from the one that was made"
    return first


def test_without_a_rule_nothing_is_allowed() -> None:
    assert not any(may(authorizer(), operation) for operation in Operation)


def test_a_rule_allows_its_operation_to_its_principal_on_its_resource_only() -> None:
    judge = authorizer(rule(WRITE))
    assert may(judge, WRITE)
    assert not may(judge, READ)
    assert not may(judge, WRITE, "other")
    assert not may(judge, WRITE, "log")
    assert not may(judge, WRITE, kind=GROUP)
    assert not may(judge, WRITE, who=BOB)
    assert not may(judge, WRITE, who=Principal("Group", "alice"))


def test_deny_outweighs_every_allow_whatever_the_patterns() -> None:
    for denied in (rule(WRITE, permission=DENY), rule(WRITE, "l", pattern=PREFIXED, permission=DENY)):
        assert not may(authorizer(rule(WRITE), rule(Operation.ALL, "*"), denied), WRITE)
    everywhere = authorizer(rule(WRITE), rule(Operation.ALL, "*", permission=DENY, principal="User:*"))
    assert not may(everywhere, WRITE)
    assert not may(everywhere, DESCRIBE)


def test_a_prefix_is_of_the_name_and_a_literal_star_is_every_name() -> None:
    judge = authorizer(rule(READ, "lo", pattern=PREFIXED), rule(WRITE, "*"))
    assert may(judge, READ, "lo")
    assert may(judge, READ, "logs")
    assert not may(judge, READ, "l")
    assert not may(judge, READ, "LO")
    assert may(judge, WRITE, "anything")
    assert not may(authorizer(rule(READ, "*", pattern=PREFIXED)), READ, "logs")


@pytest.mark.parametrize("operation", [READ, WRITE, Operation.DELETE, Operation.ALTER])
def test_reading_writing_deleting_and_altering_imply_describing_but_denying_them_denies_no_more(operation: Operation) -> None:
    assert may(authorizer(rule(operation)), DESCRIBE)
    assert may(authorizer(rule(DESCRIBE), rule(operation, permission=DENY)), DESCRIBE)


def test_other_operations_do_not_imply_describing() -> None:
    for operation in (Operation.CREATE, Operation.ALTER_CONFIGS, Operation.DESCRIBE_CONFIGS, Operation.CLUSTER_ACTION):
        assert not may(authorizer(rule(operation)), DESCRIBE)
    assert may(authorizer(rule(Operation.ALTER_CONFIGS)), Operation.DESCRIBE_CONFIGS)
    assert not may(authorizer(rule(Operation.ALTER)), Operation.DESCRIBE_CONFIGS)


def test_all_is_every_operation_in_both_directions() -> None:
    assert all(may(authorizer(rule(Operation.ALL)), operation) for operation in Operation)
    assert not any(may(authorizer(rule(READ), rule(Operation.ALL, permission=DENY)), operation) for operation in Operation)


def test_hosts_are_compared_and_a_star_is_every_host() -> None:
    judge = authorizer(rule(READ, host="10.1.2.3"), rule(WRITE, permission=DENY, host="10.9.9.9"), rule(WRITE))
    assert may(judge, READ, host="10.1.2.3")
    assert not may(judge, READ, host="10.1.2.4")
    assert may(judge, WRITE, host="10.1.2.3")
    assert not may(judge, WRITE, host="10.9.9.9")


def test_everybody_is_every_principal() -> None:
    judge = authorizer(rule(READ, principal="User:*"))
    assert may(judge, READ, who=BOB)
    assert may(judge, READ, who=Principal("User", "ANONYMOUS"))


def test_super_users_may_do_what_is_denied() -> None:
    judge = authorizer(rule(Operation.ALL, "*", principal="User:*", permission=DENY), super_users=["User:alice"])
    assert may(judge, WRITE)
    assert not may(judge, WRITE, who=BOB)
    assert judge.allows_some(ALICE, HOST, WRITE, TOPIC)


def test_open_without_rules_ends_at_the_first_rule_on_the_resource_whomever_it_names() -> None:
    judge = authorizer(rule(READ, "logs", principal="User:bob"), rule(READ, "pre", pattern=PREFIXED), open_without=True)
    assert may(judge, WRITE, "free")
    assert may(judge, WRITE, kind=CLUSTER, name=CLUSTER_NAME)
    assert not may(judge, WRITE, "logs")
    assert not may(judge, WRITE, "prefix")


def test_a_change_of_rules_is_effective_at_once() -> None:
    judge = authorizer()
    assert not may(judge, WRITE)
    judge.change([rule(WRITE)], ())
    assert may(judge, WRITE)
    judge.change([rule(WRITE, "l", pattern=PREFIXED, permission=DENY)], ())
    assert not may(judge, WRITE)
    judge.change((), [rule(WRITE, "l", pattern=PREFIXED, permission=DENY), rule(READ)])
    assert may(judge, WRITE)
    judge.change((), [rule(WRITE)])
    assert not may(judge, WRITE)
    assert len(judge) == 0


def test_some_topic_is_one_that_no_denial_covers_whole() -> None:
    def some(*rules: AclBinding) -> bool:
        return authorizer(*rules).allows_some(ALICE, HOST, WRITE, TOPIC)

    literal, prefix = rule(WRITE, "logs"), rule(WRITE, "log", pattern=PREFIXED)
    assert not some()
    assert not some(rule(READ))
    assert not some(rule(WRITE, principal="User:bob"))
    assert some(literal)
    assert some(prefix)
    assert some(rule(WRITE, "*"))
    assert not some(literal, rule(WRITE, "logs", permission=DENY))
    assert some(prefix, rule(WRITE, "logs", permission=DENY))
    assert not some(prefix, literal, rule(WRITE, "lo", pattern=PREFIXED, permission=DENY))
    assert not some(prefix, literal, rule(Operation.ALL, "*", permission=DENY))
    assert some(rule(WRITE, "*"), literal, rule(WRITE, "lo", pattern=PREFIXED, permission=DENY))


def test_names_that_clients_make_up_do_not_grow_memory() -> None:
    judge = authorizer(rule(WRITE))
    for number in range(50_000):
        judge.allows(ALICE, HOST, WRITE, TOPIC, f"made-up-{number}")
    judge.allows(ALICE, HOST, WRITE, TOPIC, "x" * 30_000)
    assert judge.kept_answers <= 20_000
    assert may(judge, WRITE)


NAMES = st.sampled_from(["a", "ab", "abc", "b", "*"])
RULES = st.builds(
    AclBinding,
    kind=st.sampled_from([TOPIC, GROUP]),
    pattern=st.sampled_from([LITERAL, PREFIXED]),
    name=NAMES,
    principal=st.sampled_from(["User:alice", "User:bob", "User:*"]),
    host=st.sampled_from([HOST, "10.0.0.9", "*"]),
    operation=st.sampled_from([READ, WRITE, DESCRIBE, Operation.ALL, Operation.ALTER_CONFIGS, Operation.DESCRIBE_CONFIGS]),
    permission=st.sampled_from([ALLOW, DENY]),
)


def plainly_allowed(rules: list[AclBinding], who: Principal, operation: Operation, kind: ResourceType, name: str) -> bool:
    """StandardAuthorizerData.authorize, read off word by word."""

    def concerns(each: AclBinding) -> bool:
        literal = each.pattern is LITERAL and each.name in (name, "*")
        return each.kind is kind and (literal or (each.pattern is PREFIXED and name.startswith(each.name)))

    def names(each: AclBinding) -> bool:
        return each.principal in (str(who), "User:*") and each.host in (HOST, "*")

    mine = [each for each in rules if concerns(each) and names(each)]
    if any(each.permission is DENY and each.operation in (operation, Operation.ALL) for each in mine):
        return False
    implied = {
        DESCRIBE: {DESCRIBE, READ, WRITE, Operation.DELETE, Operation.ALTER},
        Operation.DESCRIBE_CONFIGS: {Operation.DESCRIBE_CONFIGS, Operation.ALTER_CONFIGS},
    }.get(operation, {operation})
    return any(each.permission is ALLOW and each.operation in {Operation.ALL, *implied} for each in mine)


@given(st.lists(RULES, max_size=12), st.lists(RULES, max_size=4))
def test_every_answer_is_that_of_a_plain_reading_also_after_changes(rules: list[AclBinding], removed: list[AclBinding]) -> None:
    judge = authorizer(*rules)
    judge.change((), [*removed, *rules[:3]])
    left = [each for each in rules if each not in removed and each not in rules[:3]]
    for who in (ALICE, BOB):
        for operation in (READ, WRITE, DESCRIBE, Operation.DESCRIBE_CONFIGS):
            for kind in (TOPIC, GROUP):
                for name in ("a", "ab", "abcd", "c"):
                    assert may(judge, operation, name, who=who, kind=kind) is plainly_allowed(left, who, operation, kind, name)

"""DescribeAcls, CreateAcls and DeleteAcls over the wire, and the answers that tell what a client may do."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kio.schema.errors import ErrorCode

from headrace.broker.keys.access import STANDARD_AUTHORIZER
from tests.integration.broker.requests import create_topic
from tests.integration.groups.wire_client import WireClient
from tests.processes import Part, broker

DESCRIBE, CREATE, DELETE, METADATA, DESCRIBE_GROUPS, DESCRIBE_CLUSTER = 29, 30, 31, 3, 15, 60
TOPIC, GROUP, CLUSTER = 2, 3, 4
ANY, MATCH, LITERAL, PREFIXED = 1, 2, 3, 4
READ, WRITE, DESCRIBE_OPERATION = 3, 4, 8
DENY, ALLOW = 2, 3


def secured(directory: Path) -> Part:
    """Everybody comes without a name over its one listener, and is a super user by that."""
    return broker(directory, authorizer_class_name=STANDARD_AUTHORIZER, super_users="User:ANONYMOUS")


@pytest.fixture
def client(tmp_path: Path) -> Iterator[WireClient]:
    with secured(tmp_path) as part, WireClient(part.ports["kafka"]) as connected:
        yield connected


def creation(name: str, *, kind: int = TOPIC, pattern: int = LITERAL, **fields: Any) -> dict[str, Any]:
    said = {"resource_type": kind, "resource_name": name, "resource_pattern_type": pattern, "principal": "User:a", "host": "*"}
    return {**said, "operation": READ, "permission_type": ALLOW, **fields}


def create(client: WireClient, *creations: dict[str, Any], version: int = 3) -> list[int]:
    return [result.error_code for result in client.call(CREATE, version, {"creations": list(creations)}).results]


def wanted(**fields: Any) -> dict[str, Any]:
    return {
        "resource_type_filter": 1,
        "resource_name_filter": None,
        "pattern_type_filter": ANY,
        "principal_filter": None,
        "host_filter": None,
        "operation": 1,
        "permission_type": 1,
        **fields,
    }


def found(client: WireClient, version: int = 3, **fields: Any) -> list[tuple[str, int, str, int]]:
    answer = client.call(DESCRIBE, version, wanted(**fields))
    assert answer.error_code is ErrorCode.none
    return [
        (resource.resource_name, resource.pattern_type, acl.principal, acl.operation)
        for resource in answer.resources
        for acl in resource.acls
    ]


@pytest.mark.parametrize("version", [1, 2, 3])
def test_rules_are_made_found_and_dropped(client: WireClient, version: int) -> None:
    made = [creation("logs"), creation("lo", pattern=PREFIXED, operation=WRITE), creation("g", kind=GROUP, principal="User:b")]
    assert create(client, *made, made[0], version=version) == [0, 0, 0, 0]
    assert create(client, made[0], version=version) == [0]
    logs, prefix, group = ("logs", LITERAL, "User:a", READ), ("lo", PREFIXED, "User:a", WRITE), ("g", LITERAL, "User:b", READ)
    assert found(client, version) == [logs, prefix, group]
    assert found(client, version, resource_name_filter="logs", pattern_type_filter=MATCH) == [logs, prefix]
    assert found(client, version, principal_filter="User:b") == [group]
    filters = [wanted(resource_name_filter="logs", pattern_type_filter=MATCH), wanted(resource_name_filter="nothing")]
    matched, nothing = client.call(DELETE, version, {"filters": filters}).filter_results
    assert [(acl.resource_name, acl.operation, acl.error_code) for acl in matched.matching_acls] == [
        ("logs", READ, 0),
        ("lo", WRITE, 0),
    ]
    assert (nothing.error_code, nothing.matching_acls) == (ErrorCode.none, ())
    assert found(client, version) == [group]


def test_a_rule_that_cannot_be_is_refused_and_the_others_are_made(client: WireClient) -> None:
    wrong = [
        creation(""),
        creation("x", kind=CLUSTER),
        creation("x", kind=1),
        creation("x", kind=0),
        creation("x", kind=99),
        creation("x", pattern=MATCH),
        creation("x", principal="nobody"),
        creation("x", operation=1),
        creation("x", operation=77),
        creation("x", permission_type=1),
    ]
    assert create(client, creation("before"), *wrong, creation("after")) == [0, *[ErrorCode.invalid_request] * len(wrong), 0]
    assert [name for name, *_ in found(client)] == ["after", "before"]


def test_a_filter_with_unknown_numbers_is_refused_and_drops_nothing(client: WireClient) -> None:
    create(client, creation("kept"))
    assert client.call(DESCRIBE, 3, wanted(operation=99)).error_code is ErrorCode.invalid_request
    bad, good = client.call(DELETE, 3, {"filters": [wanted(pattern_type_filter=0), wanted(host_filter="h")]}).filter_results
    assert (bad.error_code, bad.matching_acls) == (ErrorCode.invalid_request, ())
    assert good.error_code is ErrorCode.none
    assert len(found(client)) == 1


def test_rules_survive_kill_minus_nine(tmp_path: Path) -> None:
    part = secured(tmp_path)
    with part:
        with WireClient(part.ports["kafka"]) as client:
            create(client, creation("logs"), creation("dropped"))
            client.call(DELETE, 3, {"filters": [wanted(resource_name_filter="dropped")]})
        part.kill()
        part.start()
        with WireClient(part.ports["kafka"]) as client:
            assert [name for name, *_ in found(client)] == ["logs"]


def test_without_an_authorizer_security_is_disabled(tmp_path: Path) -> None:
    with broker(tmp_path) as part, WireClient(part.ports["kafka"]) as client:
        assert client.call(DESCRIBE, 3, wanted()).error_code is ErrorCode.security_disabled
        assert create(client, creation("x"), creation("y")) == [ErrorCode.security_disabled] * 2
        (result,) = client.call(DELETE, 3, {"filters": [wanted()]}).filter_results
        assert result.error_code is ErrorCode.security_disabled


def test_without_a_rule_nobody_may_do_anything_and_a_rule_is_effective_at_once(tmp_path: Path) -> None:
    """With no super user there is nobody to make a rule: it comes from a broker that had one."""
    allowing = [creation("mine", principal="User:ANONYMOUS", operation=operation) for operation in (READ, 5)]
    with secured(tmp_path) as part, WireClient(part.ports["kafka"]) as client:
        create(client, *allowing, creation("mine", principal="User:*", operation=WRITE, permission_type=DENY))
        create_topic(client, "theirs")
    with broker(tmp_path, authorizer_class_name=STANDARD_AUTHORIZER) as part, WireClient(part.ports["kafka"]) as client:
        assert create(client, creation("x")) == [ErrorCode.cluster_authorization_failed]
        create_topic(client, "mine")
        asked = {
            "topics": [{"name": name, "topic_id": None} for name in ("mine", "theirs")],
            "allow_auto_topic_creation": False,
            "include_cluster_authorized_operations": True,
            "include_topic_authorized_operations": True,
        }
        answer = client.call(METADATA, 10, asked)
        mine, theirs = answer.topics
        assert mine.topic_authorized_operations == 1 << READ | 1 << 5 | 1 << DESCRIBE_OPERATION
        assert (theirs.error_code, theirs.partitions) == (ErrorCode.topic_authorization_failed, ())
        assert answer.cluster_authorized_operations == 0
        everything = client.call(METADATA, 12, {**asked, "topics": None, "include_topic_authorized_operations": False})
        assert [topic.name for topic in everything.topics] == ["mine"]


def test_operations_on_groups_and_the_cluster_are_told_to_who_may_describe_them(client: WireClient) -> None:
    (group,) = client.call(DESCRIBE_GROUPS, 5, {"groups": ["g"], "include_authorized_operations": True}).groups
    assert group.authorized_operations == sum(1 << operation for operation in (3, 6, 8, 10, 11))
    asked = {"include_cluster_authorized_operations": True, "endpoint_type": 1, "include_fenced_brokers": False}
    every = sum(1 << operation for operation in (5, 7, 8, 9, 10, 11, 12))
    assert client.call(DESCRIBE_CLUSTER, 2, asked).cluster_authorized_operations == every

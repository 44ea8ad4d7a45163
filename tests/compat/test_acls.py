"""Access rules through other people's administrators: Kafka's kafka-acls, confluent-kafka, kafka-python and KafkaJS."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import confluent_kafka
import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from kafka.admin import ACL, ACLFilter, KafkaAdminClient, ResourcePattern, ResourcePatternFilter
from kafka.admin import ACLOperation as KafkaPythonOperation
from kafka.admin import ACLPermissionType as KafkaPythonPermission
from kafka.admin import ACLResourcePatternType as KafkaPythonPattern
from kafka.admin import ResourceType as KafkaPythonResource

from headrace.broker.keys.access import STANDARD_AUTHORIZER
from tests.compat.java_tools import LIBS, JavaTools
from tests.processes import broker

HERE = Path(__file__).parent
MODULES = HERE.parents[1] / ".peers" / "node_modules"


@pytest.fixture(scope="module")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("acls")
    with broker(directory, authorizer_class_name=STANDARD_AUTHORIZER, super_users="User:ANONYMOUS") as part:
        yield f"127.0.0.1:{part.ports['kafka']}"


@pytest.mark.slow
def test_kafka_acls_adds_lists_and_removes(bootstrap: str, missing: Callable[[str, str], NoReturn]) -> None:
    if not (LIBS.parent / "complete").exists():
        missing("kafka", "run make peers")
    tool = JavaTools(bootstrap)
    producer = ("--producer", "--idempotent", "--topic", "orders", "--allow-principal", "User:shop")
    tool.run("AclCommand", "--add", *producer)
    prefixed = ("--resource-pattern-type", "prefixed", "--topic", "ord")
    tool.run("AclCommand", "--add", "--deny-principal", "User:*", "--deny-host", "10.0.0.9", "--operation", "Read", *prefixed)
    listed = tool.run("AclCommand", "--list", "--topic", "orders", "--resource-pattern-type", "match")
    for operation in ("WRITE", "DESCRIBE", "CREATE"):
        assert f"(principal=User:shop, host=*, operation={operation}, permissionType=ALLOW)" in listed
    assert "(principal=User:*, host=10.0.0.9, operation=READ, permissionType=DENY)" in listed
    assert "operation=IDEMPOTENT_WRITE" in tool.run("AclCommand", "--list", "--cluster")
    tool.run("AclCommand", "--remove", "--force", *producer)
    left = tool.run("AclCommand", "--list", "--topic", "orders", "--resource-pattern-type", "match")
    assert "User:shop" not in left
    assert "User:*" in left
    refused = tool.run(
        "AclCommand", "--add", "--allow-principal", "nobody", "--operation", "Read", "--topic", "x", exit_status=None
    )
    assert "nobody" in refused


def test_confluent_makes_finds_and_drops(bootstrap: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    write = AclBinding(
        ResourceType.TOPIC, "ck", ResourcePatternType.LITERAL, "User:ck", "*", AclOperation.WRITE, AclPermissionType.ALLOW
    )
    nobody = AclBinding(
        ResourceType.TOPIC, "ck", ResourcePatternType.LITERAL, "nobody", "*", AclOperation.WRITE, AclPermissionType.ALLOW
    )
    results = admin.create_acls([write, nobody])
    results[write].result(10)
    with pytest.raises(confluent_kafka.KafkaException) as raised:
        results[nobody].result(10)
    assert raised.value.args[0].code() == confluent_kafka.KafkaError.INVALID_REQUEST
    matching = AclBindingFilter(
        ResourceType.TOPIC, "ck", ResourcePatternType.MATCH, None, None, AclOperation.ANY, AclPermissionType.ANY
    )
    assert admin.describe_acls(matching).result(10) == [write]
    assert admin.delete_acls([matching])[matching].result(10) == [write]
    assert admin.describe_acls(matching).result(10) == []


def test_kafka_python_makes_finds_and_drops(bootstrap: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        made = ACL(
            "User:kp",
            "*",
            KafkaPythonOperation.READ,
            KafkaPythonPermission.DENY,
            ResourcePattern(KafkaPythonResource.GROUP, "kp", KafkaPythonPattern.PREFIXED),
        )
        assert admin.create_acls([made])["failed"] == []
        wanted = ACLFilter(
            "User:kp",
            None,
            KafkaPythonOperation.ANY,
            KafkaPythonPermission.ANY,
            ResourcePatternFilter(KafkaPythonResource.GROUP, None, KafkaPythonPattern.ANY),
        )
        found, _ = admin.describe_acls(wanted)
        assert found == [made]
        ((_, dropped, _),) = admin.delete_acls([wanted])
        assert dropped == [made]
        assert admin.describe_acls(wanted)[0] == []
    finally:
        admin.close()


def test_kafkajs_makes_finds_and_drops(bootstrap: str, missing: Callable[[str, str], NoReturn]) -> None:
    if shutil.which("node") is None or not (MODULES / "kafkajs").is_dir():
        missing("kafkajs", "run make peers")
    environment = {**os.environ, "NODE_PATH": str(MODULES)}
    command = ["node", str(HERE / "acls.cjs"), bootstrap]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["created"] is True
    (described,) = seen["described"]
    assert (described["resourceName"], described["resourcePatternType"]) == ("js-", 4)
    assert described["acls"] == [{"principal": "User:js", "host": "*", "operation": 4, "permissionType": 3}]
    (deleted,) = seen["deleted"]
    assert [acl["resourceName"] for acl in deleted["matchingAcls"]] == ["js-"]
    assert seen["left"] == []

"""KafkaJS: producer, consumer and admin, each in its own versions (Produce 7, Fetch 11, JoinGroup 5)."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.processes import broker

HERE = Path(__file__).parent
MODULES = HERE.parents[1] / ".peers" / "node_modules"


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory, missing: Callable[[str, str], NoReturn]) -> dict[str, Any]:
    """What kafkajs.cjs saw, in one run against a new broker."""
    if shutil.which("node") is None or not (MODULES / "kafkajs").is_dir():
        missing("kafkajs", "run make peers")
    with broker(tmp_path_factory.mktemp("kafkajs")) as part:
        command = ["node", str(HERE / "kafkajs.cjs"), f"127.0.0.1:{part.ports['kafka']}"]
        environment = {**os.environ, "NODE_PATH": str(MODULES)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return {**json.loads(done.stdout), "port": part.ports["kafka"]}


def test_topics_are_made_once_listed_and_deleted(seen: dict[str, Any]) -> None:
    assert (seen["created"], seen["createdAgain"]) == (True, False)
    assert seen["topics"] == ["__consumer_offsets", "js", "js-made-by-sending"]
    assert seen["topicsLeft"] == ["__consumer_offsets", "js-made-by-sending"]


def test_what_is_produced_is_consumed_with_key_value_headers_and_time(seen: dict[str, Any]) -> None:
    assert seen["baseOffsets"] == [0, 3]
    by_partition = sorted(seen["records"], key=lambda record: record[:2])
    assert by_partition[0] == [0, 0, None, "old", None, "1500000000000"]
    expected = [
        [1, 3 * batch + number, f"{codec}-{number}", f"{number} " * 300 if number else None, "web-1"]
        for batch, codec in enumerate(("none", "gzip"))
        for number in range(3)
    ]
    assert [record[:5] for record in by_partition[1:]] == expected


def test_offsets_are_told_committed_and_set(seen: dict[str, Any]) -> None:
    assert seen["ends"] == [[0, 1], [0, 6]]
    assert seen["since"] == [1, 0]  # partition 0 has nothing that late: KafkaJS takes its end
    assert (seen["committed"], seen["set"]) == ([1, 6], [1, 4])


def test_groups_are_described_listed_and_deleted_when_empty(seen: dict[str, Any]) -> None:
    group, nobody = seen["busy"]["groups"]
    assert (group["state"], group["protocolType"], group["protocol"]) == ("Stable", "consumer", "RoundRobinAssigner")
    (member,) = group["members"]
    assert (member["clientId"], member["clientHost"]) == ("kafkajs", "/127.0.0.1")
    assert (nobody["state"], nobody["errorCode"]) == ("Dead", 0)
    assert seen["busy"]["error"] == "NON_EMPTY_GROUP"
    assert seen["groups"] == [{"groupId": "js-group", "protocolType": "consumer"}]
    assert seen["deletedGroups"] == [{"groupId": "js-group", "errorCode": 0}]


def test_the_cluster_and_a_topics_settings_are_described(seen: dict[str, Any]) -> None:
    assert seen["cluster"]["brokers"] == [{"nodeId": 1, "host": "127.0.0.1", "port": seen["port"]}]
    assert seen["cluster"]["controller"] == 1
    (setting,) = seen["config"]
    assert (setting["configName"], setting["configValue"], setting["isDefault"]) == ("retention.ms", "-1", False)


def test_settings_are_changed_and_records_deleted(seen: dict[str, Any]) -> None:
    assert seen["altered"] == "60000"
    assert sorted(seen["cut"]) == [0, 2]

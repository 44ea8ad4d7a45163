"""Registry clients of Node.js, unmodified, against our registry: Confluent's with its serializers and rules, and KafkaJS's."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.processes import broker, registry

HERE = Path(__file__).parent
MODULES = HERE.parents[1] / ".peers" / "node_modules"
PACKAGES = ("@confluentinc/schemaregistry", "@kafkajs/confluent-schema-registry")


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory, missing: Callable[[str, str], NoReturn]) -> dict[str, Any]:
    """What registry.cjs saw, in one run against a new registry."""
    if shutil.which("node") is None or not all((MODULES / name).is_dir() for name in PACKAGES):
        missing("registry clients of Node.js", "run make peers")
    directory = tmp_path_factory.mktemp("registry")
    with broker(directory) as kafka, registry(directory, f"127.0.0.1:{kafka.ports['kafka']}") as schemas:
        command = ["node", str(HERE / "registry.cjs"), f"http://127.0.0.1:{schemas.ports['http']}"]
        environment = {**os.environ, "NODE_PATH": str(MODULES)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=90)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found


@pytest.mark.slow
def test_confluents_client_finds_what_it_registered_by_every_way(seen: dict[str, Any]) -> None:
    found = seen["registered"]
    assert (found["ids"], found["looked"], found["version"], found["versions"]) == ([1, 2], 1, 2, [1, 2])
    assert (found["text"], found["byId"], found["guids"][1], found["subjects"]) == (True, True, True, True)
    assert (found["named"], found["owned"]) == ({"owner": "billing"}, 1)
    assert (found["ownedByNobody"], found["nobody"]) == ([404, 40403], [404, 40401])


def test_confluents_client_asks_and_sets_compatibility_and_configurations(seen: dict[str, Any]) -> None:
    found = seen["configured"]
    assert (found["default"], found["unset"], found["fits"], found["fitsFirst"]) == (
        "BACKWARD",
        [404, 40408],
        [True, False],
        False,
    )
    assert (found["refused"], found["set"], found["got"]) == ([409, 409], "NONE", "NONE")
    config = found["config"]
    assert (config["compatibilityLevel"], config["compatibilityGroup"]) == ("FULL", "major")
    assert config["overrideMetadata"] == {"properties": {"cost": "1"}}
    assert found["merged"] == [{"cost": "1", "owner": "me", "team": "a"}, ["r"]]
    assert found["alias"] == "js-configured"


def test_confluents_client_deletes_softly_and_then_for_good(seen: dict[str, Any]) -> None:
    assert seen["deleted"] == {"version": 1, "versions": [2], "tooEarly": [404, 40405], "subject": [2], "forGood": [1, 2]}


def test_rules_kept_by_the_registry_are_carried_out_by_confluents_serializers(seen: dict[str, Any]) -> None:
    assert seen["contracts"] == {"name": "Zoë!", "refused": "SerializationError"}


def test_confluents_serializers_write_what_their_deserializers_read(seen: dict[str, Any]) -> None:
    found = seen["serialized"]
    assert found["avro"] == [{"id": 1, "name": "a"}, ["__value_schema_id"]]  # the id is a GUID, in a header
    assert found["json"] == {"id": 7}
    precision, scale, text = found["protobuf"]
    assert (precision, scale) == (3, 1)
    assert "message Decimal {\n  bytes value = 1;\n  uint32 precision = 2;\n  int32 scale = 3;\n}" in text


def test_kafkajs_client_registers_encodes_and_decodes_three_kinds_of_schemas(seen: dict[str, Any]) -> None:
    found, value = seen["kafkajs"], {"id": 1, "name": "Zoë"}
    assert (found["value"], found["order"]) == (value, {"by": value})
    assert (found["protobuf"], found["json"]) == ({"amount": "42", "unit": "EUR"}, {"id": 7})
    assert found["invalid"] == "ConfluentSchemaRegistryValidationError"
    assert (found["found"], found["bySchema"], found["again"]) == ([found["id"]] * 2, found["id"], True)
    assert (found["level"], found["refused"]) == ("BACKWARD", 409)
    assert (found["unknown"], found["level2"]) == ("ConfluentSchemaRegistryError", "ConfluentSchemaRegistryCompatibilityError")

"""deploy/agent/kubernetes: what kustomize makes of it is valid by the schemas of Kubernetes' API, and fits the agent."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import jsonschema
import pytest
import yaml
from referencing import Registry, Resource

from headrace.agents.configuration import AgentConfig
from headrace.config import load_config

REPOSITORY = Path(__file__).parents[3]
FOLDER = REPOSITORY / "deploy" / "agent" / "kubernetes"
KUSTOMIZE = REPOSITORY / ".peers" / "bin" / "kustomize"
SCHEMAS = REPOSITORY / ".peers" / "kubernetes" / "kubernetes_validate" / "kubernetes-json-schema" / "v1.37.0-local-strict"
# Kinds that are the cluster's own.
OWN = {"Namespace", "ServiceAccount", "ConfigMap", "DaemonSet"}


@pytest.fixture(scope="module")
def objects(missing: Callable[[str, str], NoReturn]) -> dict[str, Any]:
    """What would be applied, by kind."""
    if KUSTOMIZE.exists():
        command = [str(KUSTOMIZE), "build", str(FOLDER)]
    elif shutil.which("kubectl"):
        command = ["kubectl", "kustomize", str(FOLDER)]
    else:
        missing("kustomize", "run make peers")
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return {each["kind"]: each for each in yaml.safe_load_all(done.stdout)}


@pytest.fixture(scope="module")
def pod(objects: dict[str, Any]) -> Any:
    return objects["DaemonSet"]["spec"]["template"]["spec"]


def _retrieve(uri: str) -> Resource[Any]:
    return Resource.from_contents(
        json.loads((SCHEMAS / uri.rpartition("/")[2]).read_text()), default_specification=jsonschema_draft()
    )


def jsonschema_draft() -> Any:
    from referencing.jsonschema import DRAFT202012

    return DRAFT202012


def test_every_object_is_valid_by_the_schemas_of_the_api(
    objects: dict[str, Any], missing: Callable[[str, str], NoReturn]
) -> None:
    if not SCHEMAS.exists():
        missing("kubernetes", "run make peers")
    assert set(objects) == OWN  # no operator is needed
    for kind in OWN:
        group = objects[kind]["apiVersion"].replace("/", "-")
        schema = json.loads((SCHEMAS / f"{kind.lower()}-{group}.json").read_text())
        registry: Registry[Any] = Registry(retrieve=_retrieve)  # type: ignore[call-arg]  # attrs' name for it
        jsonschema.Draft202012Validator(schema, registry=registry).validate(objects[kind])


def test_the_schemas_notice_a_misspelt_key(objects: dict[str, Any], missing: Callable[[str, str], NoReturn]) -> None:
    if not SCHEMAS.exists():
        missing("kubernetes", "run make peers")
    schema = json.loads((SCHEMAS / "daemonset-apps-v1.json").read_text())
    wrong = json.loads(json.dumps(objects["DaemonSet"]))
    wrong["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    registry: Registry[Any] = Registry(retrieve=_retrieve)  # type: ignore[call-arg]  # attrs' name for it
    with pytest.raises(jsonschema.ValidationError, match="livenesProbe"):
        jsonschema.Draft202012Validator(schema, registry=registry).validate(wrong)


def test_its_configuration_is_one_of_the_agents(objects: dict[str, Any], pod: Any, tmp_path: Path) -> None:
    (tmp_path / "agent.yaml").write_text(objects["ConfigMap"]["data"]["agent.yaml"])
    arguments = pod["containers"][0]["args"]
    config = load_config(AgentConfig, tmp_path / "agent.yaml", overrides=arguments[1::2], environment={})
    mounts = {mount["name"]: mount for mount in pod["containers"][0]["volumeMounts"]}
    assert str(config.agent.state_dir) == mounts["state"]["mountPath"]
    assert config.agent.http is not None
    assert config.agent.http.port == pod["containers"][0]["ports"][0]["containerPort"]
    assert pod["terminationGracePeriodSeconds"] * 1000 > config.agent.grace_ms + 10_000
    (logs,) = config.inputs
    assert logs.containers is not None
    assert not logs.containers.own_pod
    assert "POD_NAME" in {variable["name"] for variable in pod["containers"][0]["env"]}  # by which its own logs are left out


def test_the_monitor_for_the_operator_finds_the_pods_and_their_port(objects: dict[str, Any], pod: Any) -> None:
    monitor = yaml.safe_load((FOLDER / "podmonitor.yaml").read_text())["spec"]
    labels = objects["DaemonSet"]["spec"]["template"]["metadata"]["labels"]
    assert monitor["selector"]["matchLabels"].items() <= labels.items()
    assert [each["port"] for each in monitor["podMetricsEndpoints"]] == [each["name"] for each in pod["containers"][0]["ports"]]


def test_positions_are_on_the_host_and_logs_cannot_be_written(pod: Any) -> None:
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["name"]: mount for mount in pod["containers"][0]["volumeMounts"]}
    assert set(volumes) == set(mounts)
    assert volumes["state"]["hostPath"]["type"] == "DirectoryOrCreate"
    assert {name for name, mount in mounts.items() if not mount.get("readOnly")} == {"state", "tmp"}
    security = pod["containers"][0]["securityContext"]
    assert security["readOnlyRootFilesystem"]
    assert not security["allowPrivilegeEscalation"]
    assert security["capabilities"] == {"add": ["DAC_READ_SEARCH"], "drop": ["ALL"]}

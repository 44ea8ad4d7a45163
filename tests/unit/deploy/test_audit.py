"""deploy: systemd takes the units of parts, and finds the audit's hardened; Kubernetes takes the audit's manifests."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import jsonschema
import pytest
import yaml
from referencing import Registry

from headrace.config import load_config
from headrace.jobs.audit.config import AuditConfig
from tests.unit.deploy.test_kubernetes import KUSTOMIZE, REPOSITORY, SCHEMAS, _retrieve

FOLDER = REPOSITORY / "deploy" / "audit" / "kubernetes"
NIGHTLY = REPOSITORY / "deploy" / "systemd" / "headrace-nightly.service"  # with its timer, in test_nightly.py
UNITS = sorted({*(REPOSITORY / "deploy" / "systemd").glob("*.service")} - {NIGHTLY})
WORST_EXPOSURE = 2.0  # of ten; the best of systemd's own words for levels that a service on the network gets


@pytest.fixture(scope="module")
def objects(missing: Callable[[str, str], NoReturn]) -> dict[str, Any]:
    """What would be applied, by kind."""
    if not KUSTOMIZE.exists() and not shutil.which("kubectl"):
        missing("kustomize", "run make peers")
    tool = [str(KUSTOMIZE), "build"] if KUSTOMIZE.exists() else ["kubectl", "kustomize"]
    done = subprocess.run([*tool, str(FOLDER)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return {each["kind"]: each for each in yaml.safe_load_all(done.stdout)}


@pytest.fixture(scope="module")
def analyze(missing: Callable[[str, str], NoReturn]) -> str:
    return shutil.which("systemd-analyze") or missing("systemd", "apt-get install systemd")


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_takes_each_unit(unit: Path, analyze: str, tmp_path: Path) -> None:
    copy = tmp_path / unit.name.replace("@.", "@one.")
    copy.write_text(unit.read_text().replace("/opt/headrace/bin/headrace", "/bin/true"))
    verified = subprocess.run([analyze, "verify", str(copy)], capture_output=True, text=True, timeout=30, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")


def test_the_audits_unit_is_hardened(analyze: str) -> None:
    (unit,) = (unit for unit in UNITS if unit.stem == "headrace-audit")
    command = [analyze, "security", "--offline=true", str(unit)]
    judged = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", judged.stdout)
    assert exposure is not None, judged.stdout
    assert float(exposure[1]) < WORST_EXPOSURE


def test_every_object_is_valid_by_the_schemas_of_the_api(
    objects: dict[str, Any], missing: Callable[[str, str], NoReturn]
) -> None:
    if not SCHEMAS.exists():
        missing("kubernetes", "run make peers")
    assert set(objects) == {"ConfigMap", "Deployment", "Service"}  # no operator is needed
    registry: Registry[Any] = Registry(retrieve=_retrieve)  # type: ignore[call-arg]  # attrs' name for it
    for kind, each in objects.items():
        schema = json.loads((SCHEMAS / f"{kind.lower()}-{each['apiVersion'].replace('/', '-')}.json").read_text())
        jsonschema.Draft202012Validator(schema, registry=registry).validate(each)


def test_the_deployment_reads_a_configuration_of_the_audit_and_all_ports_are_its(
    objects: dict[str, Any], tmp_path: Path
) -> None:
    pod = objects["Deployment"]["spec"]["template"]
    (tmp_path / "audit.yaml").write_text(objects["ConfigMap"]["data"]["audit.yaml"])
    config = load_config(AuditConfig, tmp_path / "audit.yaml", overrides=(), environment={})
    (container,) = pod["spec"]["containers"]
    assert container["args"] == ["audit", "--config", "/etc/headrace/audit.yaml"]
    assert pod["spec"]["volumes"][0]["configMap"]["name"] == objects["ConfigMap"]["metadata"]["name"]
    (port,) = container["ports"]
    assert config.audit.http is not None
    assert config.audit.http.port == port["containerPort"]
    for selector in (objects["Service"]["spec"]["selector"], objects["Deployment"]["spec"]["selector"]["matchLabels"]):
        assert selector.items() <= pod["metadata"]["labels"].items()
    monitor = yaml.safe_load((FOLDER / "podmonitor.yaml").read_text())["spec"]
    assert monitor["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert [each["port"] for each in monitor["podMetricsEndpoints"]] == [port["name"]]
    assert objects["Service"]["spec"]["ports"][0]["targetPort"] == port["name"]

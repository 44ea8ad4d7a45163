"""deploy: systemd takes the nightly's service and timer, Kubernetes' schemas its CronJob, and both fit `headrace nightly`."""

import json
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
from headrace.jobs.nightly.config import NightlyConfig
from tests.unit.deploy.test_kubernetes import KUSTOMIZE, REPOSITORY, SCHEMAS, _retrieve

FOLDER = REPOSITORY / "deploy" / "nightly" / "kubernetes"
UNITS = REPOSITORY / "deploy" / "systemd"


@pytest.fixture(scope="module")
def objects(missing: Callable[[str, str], NoReturn]) -> dict[str, Any]:
    """What would be applied, by kind."""
    if not KUSTOMIZE.exists() and not shutil.which("kubectl"):
        missing("kustomize", "run make peers")
    tool = [str(KUSTOMIZE), "build"] if KUSTOMIZE.exists() else ["kubectl", "kustomize"]
    done = subprocess.run([*tool, str(FOLDER)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return {each["kind"]: each for each in yaml.safe_load_all(done.stdout)}


def test_systemd_takes_the_service_and_its_timer(missing: Callable[[str, str], NoReturn], tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze") or missing("systemd", "apt-get install systemd")
    for unit in UNITS.glob("headrace-nightly.*"):
        (tmp_path / unit.name).write_text(unit.read_text().replace("/opt/headrace/bin/headrace", "/bin/true"))
    command = [analyze, "verify", *map(str, sorted(tmp_path.iterdir()))]
    verified = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")


def test_held_days_do_not_fail_the_unit_and_a_long_night_is_not_cut_short() -> None:
    service = (UNITS / "headrace-nightly.service").read_text()
    assert "Type=oneshot\n" in service
    assert "SuccessExitStatus=3 4\n" in service
    assert "TimeoutStartSec=infinity\n" in service


def test_the_cron_job_is_valid_by_the_schemas_of_the_api(
    objects: dict[str, Any], missing: Callable[[str, str], NoReturn]
) -> None:
    if not SCHEMAS.exists():
        missing("kubernetes", "run make peers")
    assert set(objects) == {"ConfigMap", "CronJob"}
    registry: Registry[Any] = Registry(retrieve=_retrieve)  # type: ignore[call-arg]  # attrs' name for it
    for kind, file in (("ConfigMap", "configmap-v1.json"), ("CronJob", "cronjob-batch-v1.json")):
        schema = json.loads((SCHEMAS / file).read_text())
        jsonschema.Draft202012Validator(schema, registry=registry).validate(objects[kind])


def test_the_cron_job_reads_a_configuration_of_the_nightly_and_never_runs_twice(
    objects: dict[str, Any], tmp_path: Path
) -> None:
    job = objects["CronJob"]["spec"]
    pod = job["jobTemplate"]["spec"]["template"]["spec"]
    (tmp_path / "nightly.yaml").write_text(objects["ConfigMap"]["data"]["nightly.yaml"])
    config = load_config(NightlyConfig, tmp_path / "nightly.yaml", overrides=(), environment={})
    assert config.nightly.wait < 3600, "the next one is due in an hour"
    (container,) = pod["containers"]
    assert container["args"] == ["nightly", "--config", "/etc/headrace/nightly.yaml"]
    assert pod["volumes"][0]["configMap"]["name"] == objects["ConfigMap"]["metadata"]["name"]
    assert (job["concurrencyPolicy"], job["jobTemplate"]["spec"]["backoffLimit"]) == ("Forbid", 0)

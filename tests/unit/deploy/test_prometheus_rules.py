"""The alert rules: every metric in them exists, and Prometheus' own tool finds no fault."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml

from headrace.agents.metrics import FAMILIES as AGENTS
from headrace.broker.telemetry import metric_families
from headrace.broker.telemetry.metrics import Family
from headrace.jobs.audit.metrics import FAMILIES as AUDITS
from headrace.jobs.nightly.metrics import FAMILIES as NIGHTS
from headrace.sinks.metrics import FAMILIES as LOADERS

PROMTOOL = Path(__file__).parents[3] / ".peers" / "prometheus" / "usr" / "bin" / "promtool"
FOLDER = Path(__file__).parents[3] / "deploy" / "prometheus"
TESTS = ("headrace.rules.test.yml", "headrace-nightly.rules.test.yml")


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((FOLDER / "headrace.rules.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_a_rule_asks_for_metrics_that_there_are_and_says_what_to_do(rule: dict[str, Any]) -> None:
    known = {each.name for each in vars(metric_families).values() if isinstance(each, Family)}
    known |= {each.name for each in (*LOADERS, *AGENTS, *AUDITS, *NIGHTS)}
    asked = set(re.findall(r"\b(?:kafka|headrace)_[a-z_]+", rule["expr"]))
    assert asked <= known
    assert asked or "up{" in rule["expr"]
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["do"]


def test_prometheus_own_tool_finds_no_fault(missing: Callable[[str, str], NoReturn]) -> None:
    promtool = PROMTOOL if PROMTOOL.exists() else shutil.which("promtool")
    if promtool is None:
        missing("promtool", "run make peers")
    for command in (["check", "rules", "headrace.rules.yml"], ["test", "rules", *TESTS]):
        done = subprocess.run([promtool, *command], cwd=FOLDER, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr

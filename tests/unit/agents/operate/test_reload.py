"""A reload: what changes while the agent runs, what waits for a restart, and what is said of both."""

import logging
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

from headrace.agents.configuration import AgentConfig
from headrace.agents.metrics import Metrics
from headrace.agents.operate.reload import Reloads
from headrace.config import load_config, settings_of
from headrace.errors import UsageError

GOOD: dict[str, Any] = {
    "agent": {"state_dir": "/var/lib/agent", "grace_ms": 1000},
    "kafka": {"bootstrap.servers": "b1:9092", "sasl.password": "hush"},
    "registry": "http://127.0.0.1:8081",
    "inputs": [{"tail": ["/var/log/*.log"], "topic": "app"}],
}


class File:
    """A configuration file, and the reloads of an agent that began with it."""

    def __init__(self, path: Path) -> None:
        self.path, self.asked = path, Event()
        self.write()
        self.reloads = Reloads(self.read, self.read(), self.asked, Metrics())

    def write(self, **sections: Any) -> None:
        self.path.write_text(yaml.safe_dump({**GOOD, **sections}))

    def read(self) -> AgentConfig:
        return settings_of(load_config(AgentConfig, self.path, overrides=(), environment={}))

    def reload(self, **sections: Any) -> AgentConfig | None:
        self.write(**sections)
        self.asked.set()
        return self.take()

    def take(self) -> AgentConfig | None:
        """What the reload goes on with, if there is one."""
        used: list[AgentConfig] = []
        self.reloads.take(used.append)
        return used[0] if used else None


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(tmp_path / "agent.yaml")


def count(outcome: str) -> float:
    return REGISTRY.get_sample_value("headrace_agent_config_reloads_total", {"outcome": outcome}) or 0


def test_nothing_is_read_unless_somebody_asks_for_it(file: File) -> None:
    file.path.unlink()
    assert file.take() is None


def test_inputs_and_the_grace_change_at_once(file: File) -> None:
    before = count("applied")
    config = file.reload(
        inputs=[{"tail": ["/srv/*.log"], "topic": "other"}], agent={"state_dir": "/var/lib/agent", "grace_ms": 7000}
    )
    assert config is not None
    assert (config.inputs[0].topic, config.agent.grace_ms) == ("other", 7000)
    assert count("applied") == before + 1
    assert file.take() is None, "it was asked for once"


def test_what_waits_for_a_restart_is_named_without_its_value_and_stays_as_it_was(
    file: File, caplog: pytest.LogCaptureFixture
) -> None:
    config = file.reload(
        agent={"state_dir": "/elsewhere"}, kafka={"bootstrap.servers": "b2:9092", "sasl.password": "whisper", "linger.ms": 5}
    )
    assert config is not None
    assert (config.agent.state_dir, config.kafka["bootstrap.servers"]) == (Path("/var/lib/agent"), "b1:9092")
    (told,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert vars(told)["keys"] == ["agent.state_dir", "kafka.bootstrap.servers", "kafka.linger.ms", "kafka.sasl.password"]
    assert "whisper" not in caplog.text


def test_functions_of_modules_are_said_to_stay_as_they_were_loaded(
    file: File, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = tmp_path / "own.py"
    own.write_text("def keep(event):\n    return event\n")
    steps = [{"python": "copy:copy"}, {"python": f"{own}:keep"}]
    assert file.reload(inputs=[{"tail": ["/a"], "topic": "app", "transforms": steps}]) is not None
    (told,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert vars(told)["functions"] == ["copy:copy"]


@pytest.mark.parametrize(
    "sections",
    [
        {"inputs": []},
        {"inputs": [{"tail": ["/a"], "topic": "app", "tpoic": "b"}]},
        {"kafka": {}},
    ],
)
def test_an_invalid_file_keeps_the_old_one_and_says_so(
    file: File, caplog: pytest.LogCaptureFixture, sections: dict[str, Any]
) -> None:
    before = count("invalid")
    assert file.reload(**sections) is None
    assert "the configuration is invalid, and the old one goes on" in caplog.text
    assert count("invalid") == before + 1
    assert REGISTRY.get_sample_value("headrace_agent_config_valid") == 0
    assert file.reload() is not None
    assert REGISTRY.get_sample_value("headrace_agent_config_valid") == 1


def test_a_file_that_is_not_there_or_no_yaml_is_invalid_too(file: File) -> None:
    file.path.write_text("inputs: [")
    file.asked.set()
    assert file.take() is None
    file.path.unlink()
    file.asked.set()
    assert file.take() is None


def test_standard_input_goes_on_as_it_was_until_a_restart(file: File, caplog: pytest.LogCaptureFixture) -> None:
    pushed = {"stdin": {}, "topic": "piped"}
    config = file.reload(inputs=[pushed, {"tail": ["/srv/*.log"], "topic": "other"}])
    assert config is not None
    assert [each.topic for each in config.inputs] == ["other"]
    assert "inputs (stdin)" in str([vars(record).get("keys") for record in caplog.records])


def test_other_keys_of_an_input_of_standard_input_change_at_once(tmp_path: Path) -> None:
    file = File(tmp_path / "agent.yaml")
    piped = {"stdin": {}, "topic": "piped", "name": "pipe"}
    file.write(inputs=[piped])
    file.reloads = Reloads(file.read, file.read(), file.asked, Metrics())
    config = file.reload(inputs=[{**piped, "topic": "other", "parse": "json"}])
    assert config is not None
    assert [each.topic for each in config.inputs] == ["other"]
    config = file.reload(inputs=[{"tail": ["/a"], "topic": "app"}])
    assert config is not None
    assert sorted(each.kind for each in config.inputs) == ["stdin", "tail"], "it cannot be opened again, so it stays"


def test_what_is_pushed_changes_at_once(file: File) -> None:
    config = file.reload(inputs=[{"syslog": {"udp": "127.0.0.1:0"}, "topic": "sys"}])
    assert config is not None
    assert [each.topic for each in config.inputs] == ["sys"]


def test_a_configuration_that_cannot_be_used_is_refused_and_the_old_one_goes_on(
    file: File, caplog: pytest.LogCaptureFixture
) -> None:
    before = count("refused")

    def refuse(_: AgentConfig) -> None:
        raise UsageError("syslog tcp 127.0.0.1:514: Address already in use; choose another address")

    file.asked.set()
    file.reloads.take(refuse)
    assert "the configuration cannot be used, and the old one goes on" in caplog.text
    assert count("refused") == before + 1
    assert REGISTRY.get_sample_value("headrace_agent_config_valid") == 0


def test_inputs_that_do_not_go_with_what_runs_are_refused(tmp_path: Path) -> None:
    file = File(tmp_path / "agent.yaml")
    file.write(dead_letter={"topic": "letters"})
    file.reloads = Reloads(file.read, file.read(), file.asked, Metrics())
    assert file.reload(inputs=[{"tail": ["/a"], "topic": "letters"}]) is None

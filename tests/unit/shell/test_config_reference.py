"""docs/configuration.md and the models that it is made from."""

from pathlib import Path

import pytest

from headrace.agents.configuration import AgentConfig
from headrace.broker.config import BrokerConfig
from headrace.cli import main
from headrace.config import Section
from headrace.config_reference import keys
from headrace.schemas.config import RegistryConfig
from headrace.sinks.config import LoadConfig

PAGE = Path(__file__).parents[3] / "docs/configuration.md"


@pytest.mark.parametrize("model", [AgentConfig, BrokerConfig, LoadConfig, RegistryConfig])
def test_every_key_says_what_it_means(model: type[Section]) -> None:
    assert [key for key, _, meaning in keys(model) if not meaning] == []


def test_keys_are_written_as_set_takes_them() -> None:
    assert {"agent.state_dir", "inputs.0.topic", "kafka"} <= {key for key, _, _ in keys(AgentConfig)}
    assert ("log.segment.bytes", "`1073741824`") in [row[:2] for row in keys(BrokerConfig)]
    assert ("load.rotate.age", "`10m`") in [row[:2] for row in keys(LoadConfig)]


def test_the_page_is_as_the_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "reference"]) == 0
    assert capsys.readouterr().out == PAGE.read_text(), "run: make docs"

"""A configuration that another process checks: the same values by the same names, its errors, and nothing of what checks it."""

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from headrace.agents.checking import Checking
from headrace.agents.configuration import AgentConfig
from headrace.config import Section, load_config, settings_of
from headrace.errors import ConfigError, UsageError
from headrace.settings import Settings

EVERYTHING: dict[str, Any] = {
    "agent": {"state_dir": "/var/lib/agent", "http": "127.0.0.1:0", "http.authentication": "broker"},
    "kafka": {"bootstrap.servers": "b1:9092", "sasl.password": "hush"},
    "registry": {"url": "http://127.0.0.1:8081", "basic.auth.user.info": "user:hush"},
    "topics": {"app": {"schema": "access"}},
    "dead_letter": {"topic": "letters"},
    "inputs": [
        {"tail": ["/var/log/*.log"], "topic": "app", "parse": "json", "transforms": [{"redact": {"email": True}}]},
        {"containers": None, "topic": "pods", "multiline": {"traces": ["python"]}},
        {"stdin": None, "topic": "piped"},
        {"exec": {"command": ["uptime"]}, "topic": "run"},
        {"unix": {"path": "/run/log"}, "topic": "unix"},
        {"syslog": {"tcp": "[::1]:514"}, "topic": "syslog"},
        {"http": {"listen": "127.0.0.1:80", "bearer.token": "hush hush"}, "topic": "http", "spool": {"max_bytes": 1 << 20}},
        {"journald": None, "topic": "journal"},
    ],
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "agent.yaml"
    path.write_text(yaml.safe_dump(EVERYTHING))
    return path


def differences(model: Any, settings: Any, where: str = "") -> list[str]:
    """The attributes that settings have otherwise than the model that they are of."""
    if isinstance(model, Section):
        assert isinstance(settings, Settings), where
        names = (*type(model).model_fields, *model.derived)
        return [
            found for name in names for found in differences(getattr(model, name), getattr(settings, name), f"{where}.{name}")
        ]
    if isinstance(model, dict | list):
        pairs = model.items() if isinstance(model, dict) else enumerate(model)
        return [found for key, value in pairs for found in differences(value, settings[key], f"{where}.{key}")]
    if hasattr(model, "get_secret_value"):
        model, settings = model.get_secret_value(), settings.get_secret_value()
    return [] if model == settings else [where]


def test_what_comes_is_what_the_file_says_by_the_same_names(file: Path) -> None:
    config = Checking(file, ["agent.grace_ms=5"]).result()
    assert differences(load_config(AgentConfig, file, overrides=["agent.grace_ms=5"], environment={}), config) == []
    assert (config.agent.grace_ms, config.inputs[6].http.authenticates) == (5, True)  # type: ignore[union-attr]
    assert config == Checking(file, ["agent.grace_ms=5"]).result()
    assert config != Checking(file, []).result()


def test_settings_do_not_change_and_show_no_values(file: Path) -> None:
    config = settings_of(load_config(AgentConfig, file, overrides=[], environment={}))
    with pytest.raises(AttributeError, match="settings do not change: kafka"):
        config.kafka = {}  # type: ignore[misc]  # that is the test
    with pytest.raises(AttributeError, match="kafak"):
        _ = config.kafak  # type: ignore[attr-defined]  # there is none
    assert "hush" not in f"{config!r} {config.registry!r} {config.registry.basic_auth_user_info!r} {config.inputs!r}"
    assert pickle.loads(pickle.dumps(config)) == config


def test_an_error_is_told_as_the_check_tells_it_with_the_line_and_without_values(file: Path) -> None:
    file.write_text(file.read_text().replace("hush hush", "hush"))
    with pytest.raises(ConfigError, match=r"agent\.yaml:\d+: inputs\.6\.http\.bearer\.token: .*at least 8") as told:
        Checking(file, []).result()
    assert "hush" not in str(told.value)


def test_what_the_registrys_client_cannot_use_is_an_error_of_the_start(file: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        Checking(file, ["registry.url=https://127.0.0.1:1", "registry.ssl.ca.location=/nowhere.pem"]).result()


def test_a_check_that_is_killed_is_an_error_and_no_configuration(file: Path) -> None:
    checking = Checking(file, [])
    checking._process.kill()
    with pytest.raises(ConfigError, match="has ended"):
        checking.result()


def test_a_users_module_may_print_as_it_is_imported_and_one_that_ends_the_process_is_an_error(file: Path) -> None:
    module = file.with_name("steps.py")
    steps = [f"inputs.0.transforms=[{{python: {module}:same}}]"]
    module.write_text("print('here I am')\ndef same(event):\n    return event\n")
    assert Checking(file, steps).result().inputs[0].topic == "app"
    module.write_text("import os\nos._exit(0)\n")
    with pytest.raises(ConfigError, match=r"has ended \(0\)"):
        Checking(file, steps).result()


def test_a_process_that_leaves_pythons_variables_alone_is_checked_for_by_one_that_does_so_too(file: Path) -> None:
    code = (
        f"import sys; sys.path[:] = {sys.path!r}; from pathlib import Path; from headrace.agents.checking import Checking; "
        f"print(Checking(Path({str(file)!r}), []).result().inputs[0].topic)"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "none such"}
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert (done.stdout, done.returncode) == ("app\n", 0)


def test_the_file_may_be_an_open_descriptor(file: Path) -> None:
    read, write = os.pipe()
    os.write(write, file.read_bytes())
    os.close(write)
    os.set_inheritable(read, True)
    try:
        assert Checking(Path(f"/dev/fd/{read}"), []).result().inputs[0].topic == "app"
    finally:
        os.close(read)


def test_what_an_agent_imports_holds_nothing_of_what_checks_configurations() -> None:
    parts = "agent, checking, sources.http, sources.syslog, sources.stdin, sources.exec, sources.unix, sources.journald"
    modules = "; ".join(f"import headrace.agents.{part}" for part in parts.split(", "))
    heavy = "{'pydantic', 'yaml', 'rich', 'fastavro', 'aiohttp', 're2'}"
    code = f"{modules}; import sys; print(sorted({heavy} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"

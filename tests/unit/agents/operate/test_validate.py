"""`headrace agent validate`: what can be known without shipping, and what it makes of it."""

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from headrace.cli import main

Validate = Callable[..., list[dict[str, Any]]]


@contextmanager
def not_root() -> Iterator[None]:
    """For root no right is wanting."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(user)


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that everybody may come to and write in; pytest makes its own private again whenever another begins."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o777)
        yield Path(name)


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with open_folder() as folder:
        yield folder


@pytest.fixture
def validate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Validate:
    """Validate inputs (and other sections), and return what is found; the last is the summary."""

    def ask(*inputs: dict[str, Any], status: int = 0, words: tuple[str, ...] = (), **sections: Any) -> list[dict[str, Any]]:
        config = {
            "agent": {"state_dir": str(tmp_path / "state")},
            "kafka": {"bootstrap.servers": "127.0.0.1:1"},
            "registry": "http://127.0.0.1:1",
            "inputs": list(inputs),
        }
        file = tmp_path / "agent.yaml"
        file.write_text(yaml.safe_dump({**config, **sections}))
        capsys.readouterr()
        assert main(["agent", "validate", "--config", str(file), "--format", "json", *words]) == status
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return ask


def tail(*patterns: Path, topic: str = "app", **more: Any) -> dict[str, Any]:
    return {"tail": [str(pattern) for pattern in patterns], "topic": topic, **more}


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_bytes(b"one\n")


def test_a_sound_configuration_is_valid_and_touches_nothing(tmp_path: Path, validate: Validate) -> None:
    write(tmp_path, "a.log", "b.log")
    assert validate(tail(tmp_path / "*.log")) == [
        {"valid": True, "inputs": [{"where": "inputs.0", "topic": "app", "files": 2, "bytes": 8}]}
    ]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.log", "agent.yaml", "b.log"]


def test_what_matches_nothing_is_a_warning_and_with_strict_an_error(tmp_path: Path, validate: Validate) -> None:
    found = validate(tail(tmp_path / "*.lgo", tmp_path / "nowhere" / "*.log"))
    assert [(each["severity"], each["key"]) for each in found[:-1]] == [("warning", "inputs.0.tail")] * 3
    assert "*.lgo: it matches no file" in found[0]["what"]
    assert f"there is no folder {tmp_path / 'nowhere'}" in found[1]["what"]
    assert not validate(tail(tmp_path / "*.lgo"), status=2, words=("--strict",))[-1]["valid"]


def test_globs_that_match_copies_are_advised_against(tmp_path: Path, validate: Validate) -> None:
    write(tmp_path, "a.log", "a.log.1", "a.log-20260101", "a.log.2.zst", "a.log.3.gz", "b.log.err")
    packed, copies, _ = validate(tail(tmp_path / "*log*"))
    assert packed["what"] == f"{tmp_path}/a.log.2.zst: compressed by its name, in a way that is not read here"
    assert copies["what"].startswith(
        f"{tmp_path}/a.log-20260101, {tmp_path}/a.log.1, {tmp_path}/a.log.3.gz: rotated from a log that is matched too"
    )
    assert len(validate(tail(tmp_path / "*log*", exclude=["*.gz", "*.zst", "*log[.-][0-9]*"]))) == 1


def test_inputs_that_share_files_are_told(tmp_path: Path, validate: Validate) -> None:
    write(tmp_path, "a.log", "b.log")
    (tmp_path / "link.log").symlink_to(tmp_path / "a.log")
    inputs = (tail(tmp_path / "a.log"), tail(tmp_path / "link.log"), tail(tmp_path / "[ab].log", topic="other"))
    same, *others, _ = validate(*inputs)
    assert same["key"] == "inputs.1.tail"
    assert "matched by inputs.0 too: it is read as that one says" in same["what"]
    assert {each["key"] for each in others} == {"inputs.2.tail"}
    assert all("it is shipped to both topics" in each["what"] for each in others)


def test_what_cannot_be_read_is_an_error(tmp_path: Path, validate: Validate) -> None:
    write(tmp_path, "a.log", "b.log")
    (tmp_path / "a.log").chmod(0)
    (tmp_path / "closed").mkdir(mode=0)
    (tmp_path / "agent.yaml").touch()
    (tmp_path / "agent.yaml").chmod(0o666)
    with not_root():
        found = validate(tail(tmp_path / "*.log", tmp_path / "closed" / "*.log"), status=2)
    errors = [each["what"] for each in found[:-1] if each["severity"] == "error"]
    assert errors == [f"{tmp_path}/a.log: cannot be read", f"{tmp_path}/closed cannot be looked into"]


def test_files_of_utf_16_are_told(tmp_path: Path, validate: Validate) -> None:
    (tmp_path / "export.log").write_text("x\n", encoding="utf-16")
    (tmp_path / "plain.log").write_text("x\n")
    (tmp_path / "empty.log").touch()
    found = validate(tail(tmp_path / "*.log"))
    assert [each["what"] for each in found if "UTF-16" in str(each)] == [
        f"{tmp_path}/export.log: UTF-16; a line is shipped as its bytes, and readers have to decode it"
    ]


def test_a_state_directory_that_cannot_be_made_is_an_error(tmp_path: Path, validate: Validate) -> None:
    write(tmp_path, "a.log")
    found = validate(tail(tmp_path / "a.log"), status=2, agent={"state_dir": str(tmp_path / "a.log" / "state")})
    assert (found[0]["severity"], found[0]["key"]) == ("error", "agent.state_dir")


def test_the_agents_own_state_is_not_shipped_and_that_is_told(tmp_path: Path, validate: Validate) -> None:
    (tmp_path / "state" / "rejected").mkdir(parents=True)
    write(tmp_path / "state" / "rejected", "app.jsonl")
    (told, summary) = validate(tail(tmp_path / "**" / "*.jsonl"))
    assert "it is in agent.state_dir" in told["what"]
    assert summary["inputs"][0]["files"] == 0


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"inputs": [{"tail": ["/a"], "topic": "app", "tpoic": "b"}]}, "did you mean topic?"),
        ({"inputs": [{"tail": ["/a"], "topic": "app", "parse": {"regex": "(unclosed"}}]}, "parse"),
        ({"kafka": {"bootstrap.servers": "b:1", "linger.mss": 5}}, "linger.mss"),
        ({"registry": {"url": "https://r", "ssl.ca.location": "/nowhere/ca.pem"}}, "/nowhere/ca.pem"),
    ],
)
def test_keys_patterns_and_files_that_cannot_be_used_are_errors(
    validate: Validate, sections: dict[str, Any], message: str
) -> None:
    found = validate({"tail": ["/var/log/*.log"], "topic": "app"}, status=2, **sections)
    assert message in " ".join(found[0].values())
    assert found[0]["severity"] == "error"


def test_a_table_shows_the_verdict(tmp_path: Path, validate: Validate, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, "a.log")
    validate(tail(tmp_path / "a.log", tmp_path / "none"))
    assert main(["agent", "validate", "--config", str(tmp_path / "agent.yaml")]) == 0
    out = capsys.readouterr().out
    assert "it matches no file" in out
    assert out.endswith("valid: 0 errors, 1 warning\n")


def test_a_state_that_root_began_is_told_before_the_agent_s_user_meets_it(tmp_path: Path, validate: Validate) -> None:
    if os.geteuid() != 0:
        pytest.skip("root alone can give files away")
    write(tmp_path, "a.log")
    state = tmp_path / "state"
    state.mkdir()
    (state / "lock").touch(0o600)
    os.chown(state, 65_534, 65_534)
    found = validate(tail(tmp_path / "a.log"))
    assert (found[0]["severity"], found[0]["key"]) == ("note", "agent.state_dir")  # root may do all: that says little
    assert "what that user may not read is not found by root" in found[0]["what"]
    (tmp_path / "agent.yaml").touch()
    (tmp_path / "agent.yaml").chmod(0o666)
    with not_root():
        found = validate(tail(tmp_path / "a.log"), status=2)
    assert (found[0]["severity"], found[0]["do"]) == ("error", "give all of it to the agent's user (chown -R)")
    assert "lock cannot be written" in found[0]["what"]

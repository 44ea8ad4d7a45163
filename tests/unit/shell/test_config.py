"""headrace.config: files, overrides, and errors that say where."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from headrace.config import Section, load_config
from headrace.errors import ConfigError


class Rotate(Section):
    rows: int = 10


class Input(Section):
    topic: str
    tail: list[str] = []


class Example(Section):
    log_dirs: str = Field("here", alias="log.dirs")
    rotate: Rotate = Rotate()
    kafka: dict[str, Any] = {}
    inputs: list[Input] = []


def load(tmp_path: Path, text: str, overrides: Sequence[str] = (), environment: dict[str, str] | None = None) -> Example:
    file = tmp_path / "x.yaml"
    file.write_text(text)
    return load_config(Example, file, overrides=overrides, environment=environment or {})


def refusal(tmp_path: Path, text: str, *overrides: str, environment: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, text, overrides, environment)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("inputs: tail", "x.yaml:1: inputs: must be a list, not 'tail'; write it as [tail]"),
        ("kafka: localhost", "x.yaml:1: kafka: must be a mapping, not 'localhost'; write it as {a: …}"),
        ("rotate: 3", "x.yaml:1: rotate: must be a mapping, not 3; write it as {rows: …}"),
        ("log.dirs:", "x.yaml:1: log.dirs: it has no value; write a text, or remove the key"),
    ],
)
def test_a_value_of_another_kind_is_refused_in_yamls_words(tmp_path: Path, text: str, says: str) -> None:
    assert refusal(tmp_path, text).endswith(says)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "# first\nlog.dirs: 2026-13-26",
            "x.yaml:2: not YAML: 2026-13-26 is none (month must be in 1..12); mend it, or quote it",
        ),
        (
            "rotate: {}\nhttp: [::1]:9601  # ours",
            "x.yaml:2: not YAML: expected the node content, but found ':'; quote an address in brackets",
        ),
        ("rotate: &a [*a]", "x.yaml: nested too deeply, or an anchor holds itself; write it flat"),
        ("rotate: " + "[" * 20_000, "x.yaml: nested too deeply, or an anchor holds itself; write it flat"),
        ("log.dirs: a\nrotate:\n  rows: 1\n  rows: 2", "x.yaml:4: rotate.rows: it is there already, in line 3; keep one"),
    ],
)
def test_what_yaml_or_python_stumbles_over_is_an_error_of_the_file(tmp_path: Path, text: str, says: str) -> None:
    assert refusal(tmp_path, text).endswith(says)


def test_an_override_that_is_no_date_is_blamed_on_itself(tmp_path: Path) -> None:
    assert refusal(tmp_path, "", "log.dirs=2026-13-26") == "--set log.dirs: '2026-13-26' is not YAML; quote it"


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    assert load(tmp_path, "# nothing\n") == Example()


def test_set_wins_over_environment_which_wins_over_the_file(tmp_path: Path) -> None:
    environment = {"HEADRACE__ROTATE__ROWS": "2", "HEADRACE__LOG_DIRS": "there", "HEADRACE_DATA": "not ours"}
    config = load(tmp_path, "rotate: {rows: 1}\nlog.dirs: file\n", ["rotate.rows=3"], environment)
    assert (config.rotate.rows, config.log_dirs) == (3, "there")


def test_dots_inside_a_free_key_are_kept(tmp_path: Path) -> None:
    environment = {"HEADRACE__KAFKA__BOOTSTRAP_SERVERS": "env:1"}
    config = load(tmp_path, "", ["kafka.linger.ms=7", "log.dirs=a"], environment)
    assert config.kafka == {"bootstrap.servers": "env:1", "linger.ms": 7}
    assert config.log_dirs == "a"


def test_a_list_element_is_set_by_its_index(tmp_path: Path) -> None:
    config = load(tmp_path, "inputs: [{topic: a}, {topic: b}]\n", ["inputs.1.topic=c"], {"HEADRACE__INPUTS__0__TAIL": "[x, y]"})
    assert [(given.topic, given.tail) for given in config.inputs] == [("a", ["x", "y"]), ("c", [])]


def test_an_index_past_the_end_is_refused(tmp_path: Path) -> None:
    assert "inputs.5.topic" in refusal(tmp_path, "inputs: [{topic: a}]\n", "inputs.5.topic=c")


def test_an_unknown_key_names_line_and_nearest(tmp_path: Path) -> None:
    said = refusal(tmp_path, "log.dirs: x\nrotate:\n  row: 5\n")
    assert "x.yaml:3" in said
    assert "rotate.row" in said
    assert "did you mean rows?" in said


def test_an_unknown_key_in_a_list_names_its_line(tmp_path: Path) -> None:
    said = refusal(tmp_path, "inputs:\n  - topic: a\n  - topic: b\n    tial: [x]\n")
    assert "x.yaml:4" in said
    assert "did you mean tail?" in said


def test_a_mistyped_key_is_named_and_not_the_one_that_is_missing_for_it(tmp_path: Path) -> None:
    said = refusal(tmp_path, "inputs:\n  - tail: [x]\n    topik: a\n")
    assert "x.yaml:3: inputs.0.topik: unknown key; did you mean topic?" in said


def test_a_wrong_value_names_line_key_and_value(tmp_path: Path) -> None:
    said = refusal(tmp_path, "\nrotate:\n  rows: many\n")
    assert "x.yaml:3" in said
    assert "rotate.rows" in said
    assert "'many'" in said


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    assert "inputs.0.topic: it is missing" in refusal(tmp_path, "inputs:\n  - tail: [x]\n")


def test_an_unknown_override_is_named(tmp_path: Path) -> None:
    assert "--set rotat.rows: unknown key; did you mean rotate?" in refusal(tmp_path, "", "rotat.rows=1")
    assert "--set log.dir: unknown key; did you mean log.dirs?" in refusal(tmp_path, "", "log.dir=x")
    assert "HEADRACE__ROTAT__ROWS" in refusal(tmp_path, "", environment={"HEADRACE__ROTAT__ROWS": "1"})
    assert "write --set key=value" in refusal(tmp_path, "", "rotate.rows")


def test_a_wrong_override_is_blamed_on_itself_not_on_the_file(tmp_path: Path) -> None:
    assert refusal(tmp_path, "rotate: {rows: 1}\n", "rotate.rows=x").startswith("--set rotate.rows")


@pytest.mark.parametrize("text", ["a: [1", "a: b: c", "\t- x", "a: &x *y"])
def test_bad_yaml_names_file_and_line(tmp_path: Path, text: str) -> None:
    assert "x.yaml" in refusal(tmp_path, text)


def test_a_list_at_the_top_is_refused(tmp_path: Path) -> None:
    assert "mapping of sections" in refusal(tmp_path, "- a\n")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.yaml"):
        load_config(Example, tmp_path / "absent.yaml", overrides=(), environment={})
    (tmp_path / "x.yaml").write_bytes(b"a: \xff\n")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_config(Example, tmp_path / "x.yaml", overrides=(), environment={})
    with pytest.raises(ConfigError):
        load_config(Example, tmp_path, overrides=(), environment={})


@pytest.mark.parametrize("secret", ["a: b: S3cret", "[S3cret", "12345", "yes", "S3cret #1", "null"])
def test_a_secret_is_the_text_that_the_environment_says(tmp_path: Path, secret: str) -> None:
    environment = {"HEADRACE__KAFKA__SASL_PASSWORD": secret}
    assert load(tmp_path, "", environment=environment).kafka == {"sasl.password": secret}

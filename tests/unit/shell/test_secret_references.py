"""Secrets from the environment and from files: put in when a configuration is read, and shown by nothing."""

from pathlib import Path

import pytest
from pydantic import Field, SecretStr, field_validator

from headrace.config import Section, load_config
from headrace.errors import ConfigError

PASSWORD = "s3cr3t-Wörd'\\"


class Keys(Section):
    """A part's, with what may hold secrets."""

    port: int = 1
    name: str = ""
    sasl_password: SecretStr | None = Field(None, alias="sasl.password")
    kafka: dict[str, str] = Field(default_factory=dict)

    @field_validator("kafka")
    @classmethod
    def _is_ours(cls, value: dict[str, str]) -> dict[str, str]:
        if "group.id" in value:
            raise ValueError("group.id is ours")
        return value

    @field_validator("name")
    @classmethod
    def _is_short(cls, value: str) -> str:
        if len(value) > 3:
            raise ValueError(f"{value} is too long")
        return value


def load(directory: Path, text: str, **environment: str) -> Keys:
    file = directory / "part.yaml"
    file.write_text(text)
    return load_config(Keys, file, overrides=[], environment=environment)


def test_references_stand_anywhere_in_a_text_and_a_files_last_line_end_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(PASSWORD + "\n")
    keys = load(
        tmp_path,
        f"sasl.password: ${{file:{tmp_path}/secret}}\nport: ${{env:PORT}}\n"
        "kafka: {sasl.jaas: 'user=\"${env:WHO}\" ${env:WHO}'}",
        PORT="9600",
        WHO="alice",
    )
    assert keys.sasl_password is not None
    assert keys.sasl_password.get_secret_value() == PASSWORD
    assert (keys.port, keys.kafka) == (9600, {"sasl.jaas": 'user="alice" alice'})
    assert PASSWORD not in repr(keys) + str(keys.model_dump())


def test_overrides_may_refer_too(tmp_path: Path) -> None:
    assert load(tmp_path, "port: 2", HEADRACE__NAME="${env:N}", N="ab").name == "ab"


@pytest.mark.parametrize(
    "text",
    [
        "port: ${env:SECRET}",
        "name: ${env:SECRET}",
        "sasl.password: [${env:SECRET}]",
        "kafka: {group.id: x, sasl.password: '${env:SECRET}'}",
        "kafka: {sasl.password: ['${env:SECRET}']}",
        "kafka: '${env:SECRET}'",
        "name: [a, {b: '${env:SECRET}'}]",
    ],
)
def test_a_refusal_shows_the_reference_and_not_the_value(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, text, SECRET=PASSWORD)
    assert refused.value.__suppress_context__
    assert PASSWORD not in str(refused.value)
    assert repr(PASSWORD)[1:-1] not in str(refused.value)


def test_a_secret_that_stands_in_the_file_itself_is_not_shown_either(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, "kafka: {group.id: x, sasl.password: hunter2}")
    assert "hunter2" not in str(refused.value)
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, "kafka: {sasl.password: [hunter2]}")
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("reference", "said"), [("${env:ABSENT}", "no such variable"), ("${file:/absent/secret}", "No such file")]
)
def test_what_is_not_there_is_named(tmp_path: Path, reference: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load(tmp_path, f"name: {reference}")


def test_other_dollars_are_left_alone(tmp_path: Path) -> None:
    assert load(tmp_path, "kafka: {a: '$x ${other:y} ${env}'}").kafka == {"a": "$x ${other:y} ${env}"}

import json

import pytest

from headrace.cli import main


@pytest.mark.parametrize(
    ("part", "key"),
    [("agent", "inputs"), ("broker", "listeners"), ("load", "load"), ("nightly", "nightly"), ("registry", "listen")],
)
def test_the_schema_of_each_part_is_printed(part, key, capsys):
    assert main(["config", "schema", part]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert key in schema["properties"]


def test_an_unknown_part_exits_2_and_names_the_parts(capsys):
    assert main(["config", "schema", "brokre"]) == 2
    assert "did you mean broker? (parts: agent, audit, broker, load, nightly, registry)" in capsys.readouterr().err

"""headrace.cli: dispatch, exit status, and a cheap import."""

import subprocess
import sys

import pytest

from headrace.cli import COMMANDS, main


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_exists_and_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0
    assert f"headrace {command}" in capsys.readouterr().out


@pytest.mark.parametrize("words", [[], ["nonsense"], ["demo", "--nonsense"], ["up", "--port", "0"], ["up", "--port", "x"]])
def test_wrong_usage_is_status_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_the_command_line_imports_no_heavy_library() -> None:
    code = "import sys, headrace.cli as c; c.COMMANDS; print(*{m.partition('.')[0] for m in sys.modules})"
    loaded = set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())
    assert not loaded & {
        "pyarrow",
        "duckdb",
        "apache_beam",
        "kio",
        "aiohttp",
        "confluent_kafka",
        "fastavro",
        "pydantic",
        "rich",
    }

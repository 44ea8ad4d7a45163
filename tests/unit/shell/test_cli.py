"""headrace.cli: dispatch, exit status, and a cheap import."""

import subprocess
import sys
from pathlib import Path

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
    said = capsys.readouterr().err
    assert said.startswith(" ".join(["headrace", *(word for word in words[:1] if word != "nonsense")]))
    assert len(said.splitlines()) == 1


_WITHOUT_EXTRAS = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {EXTRAS}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
from headrace.cli import main
sys.exit(main(sys.argv[1:]))
"""
_EXTRAS = {
    "aiohttp", "apache_beam", "avro", "crc32c", "cramjam", "duckdb", "fsspec", "hdfs_native", "kazoo", "kio", "numpy",
    "pyarrow", "pyruhvro", "uvloop", "zstandard",
}  # fmt: skip


def without_extras(*words: str) -> "subprocess.CompletedProcess[str]":
    code = _WITHOUT_EXTRAS.replace("{EXTRAS}", repr(_EXTRAS))
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_without_its_extra(command: str) -> None:
    done = without_extras(command, "--help")
    assert done.returncode == 0, done.stderr


def test_a_command_without_its_extra_says_how_to_install_it(tmp_path: Path) -> None:
    (tmp_path / "landed").mkdir()
    for words, extra in (
        (["demo"], "demo"),
        (["up"], "demo"),
        (["query", "SELECT 1", "--data", str(tmp_path)], "query"),
        (["job", "run", "counts", "--data", str(tmp_path)], "jobs"),
        (["audit", "--data", str(tmp_path)], "sinks"),
        (["check", str(tmp_path / "landed")], "sinks"),
    ):
        done = without_extras(*words)
        assert done.returncode == 2, done.stderr
        assert f"pip install 'headrace[{extra}]'" in done.stderr
        assert len(done.stderr.splitlines()) == 1


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

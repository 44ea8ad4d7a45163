"""The targets that interfaces.md names do their work, whatever files or folders bear their names."""

import subprocess
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).parents[3] / "Makefile"


@pytest.mark.parametrize("target", ["demo", "test", "check", "wheel", "deb", "bench", "sim", "peers", "clean"])
def test_a_target_is_no_file(target: str, tmp_path: Path) -> None:
    for name in ("pyproject.toml", "constraints.txt", ".venv/ready", f"{target}/newer"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    done = subprocess.run(["make", "-n", "-f", MAKEFILE, target], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "up to date" not in done.stdout
    assert done.stdout.strip()


def test_clean_leaves_the_sources_alone(tmp_path: Path) -> None:
    made = (".import_linter_cache/x", ".venv/ready", "broker/__pycache__/x.pyc", "dist/x.whl", "headrace.egg-info/x")
    for name in (*made, "broker/network/server.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    subprocess.run(["make", "-s", "-f", MAKEFILE, "clean"], cwd=tmp_path, check=True)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "broker/network/server.py"]

"""The targets that interfaces.md names do their work, whatever files or folders bear their names."""

import subprocess
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).parents[3] / "Makefile"


@pytest.mark.parametrize("target", ["demo", "test", "check", "wheel", "bench", "sim", "peers", "clean"])
def test_a_target_is_no_file(target: str, tmp_path: Path) -> None:
    for name in ("pyproject.toml", "constraints.txt", ".venv/ready", f"{target}/newer"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    done = subprocess.run(["make", "-n", "-f", MAKEFILE, target], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "up to date" not in done.stdout
    assert done.stdout.strip()

"""The file that says that a part is ready."""

import json
from pathlib import Path

import pytest

from headrace.errors import UsageError
from headrace.process import run_file


def test_it_is_there_while_the_part_serves(tmp_path: Path) -> None:
    path = tmp_path / "new" / "part.json"
    with run_file(path, {"kafka": 9}):
        assert json.loads(path.read_text())["ports"] == {"kafka": 9}
    assert not path.exists()


def test_a_place_where_it_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UsageError, match=r"--run-file .*file/part.json cannot be written"),
        run_file(tmp_path / "file" / "part.json", {}),
    ):
        raise AssertionError("not begun")

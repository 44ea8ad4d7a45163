"""Listings: which files an input matches, under which names, and what is looked at beside them."""

import os
from pathlib import Path

import pytest

from headrace.agents.effects import Input, NotOpened, Now, Opened
from headrace.agents.tail.files import Globs, OpenFiles
from headrace.agents.tail.listing import Listings

NOW = Now(5, 7)


def names(
    folder: Path, *patterns: str, exclude: tuple[str, ...] = (), known: tuple[str, ...] = ()
) -> list[tuple[str, bool, bool]]:
    globs = Globs(tuple(f"{folder}/{each}" for each in patterns), tuple(f"{folder}/{each}" for each in exclude), Input("logs"))
    listing = Listings([globs]).take({("logs", f"{folder}/{each}") for each in known}, NOW)
    return [(str(Path(seen.path).relative_to(folder)), seen.matched, seen.explicit) for seen in listing.files]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.log", "a.log.1", "a.log.err", "b.log", "[x].log", "deep/er/c.log"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x\n")
    (tmp_path / "d.log").mkdir()
    os.mkfifo(tmp_path / "e.log")
    return tmp_path


def test_globs_match_regular_files_in_any_depth(folder: Path) -> None:
    assert names(folder, "**/*.log", exclude=("b*",)) == [
        ("[x].log", True, False),
        ("a.log", True, False),
        ("deep/er/c.log", True, False),
    ]


def test_a_name_without_a_wildcard_is_explicit_escaped_or_not(folder: Path) -> None:
    assert names(folder, "a.log", "[[]x].log", "missing") == [("a.log", True, True), ("[x].log", True, True)]


def test_known_files_and_their_rotations_are_looked_at_unmatched(folder: Path) -> None:
    assert names(folder, "b.log", known=("a.log", "b.log")) == [
        ("b.log", True, True),
        ("a.log", False, False),
        ("a.log.1", False, False),
    ]


def test_an_open_file_gives_its_bytes_and_its_birth(folder: Path) -> None:
    files = OpenFiles()
    opened = files.open(str(folder / "a.log"))
    assert isinstance(opened, Opened)
    assert opened.stat.inode == (folder / "a.log").stat().st_ino
    assert opened.stat.birth_ns == 0 or abs(opened.stat.birth_ns - opened.stat.mtime_ns) < 10**10
    assert files.read(opened.handle, 1, 100) == b"\n"
    files.close(opened.handle)
    assert files.stat(opened.handle) is None
    assert files.read(opened.handle, 0, 1) is None


def test_what_is_no_regular_file_is_not_opened(folder: Path) -> None:
    assert OpenFiles().open(str(folder / "e.log")) == NotOpened("not a regular file", denied=True)
    assert OpenFiles().open(str(folder / "missing")) == NotOpened("No such file or directory", denied=False)

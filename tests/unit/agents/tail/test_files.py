"""Listings: which files an input matches, under which names, and what is looked at beside them."""

import errno
import gzip
import os
from pathlib import Path

import pytest

from headrace.agents.effects import Input, Linked, NotOpened, Now, Opened
from headrace.agents.tail.files import Globs, OpenFiles
from headrace.agents.tail.listing import Listings

NOW = Now(5, 7)


def names(
    folder: Path, *patterns: str, exclude: tuple[str, ...] = (), known: tuple[str, ...] = ()
) -> list[tuple[str, bool, bool]]:
    globs = Globs(tuple(f"{folder}/{each}" for each in patterns), tuple(f"{folder}/{each}" for each in exclude), Input("logs"))
    listing = Listings([globs]).take({("logs", f"{folder}/{each}") for each in known}, (), NOW)
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


def linked(folder: Path, target: str, key: tuple[int, int] | None) -> list[str]:
    """What is listed, beside what is matched, of a file that a link `c.log` led to."""
    globs = Globs((f"{folder}/*.log",), (), Input("logs"))
    known = {("logs", f"{folder}/c.log"), ("logs", f"{folder}/{target}")}
    listing = Listings([globs]).take(known, [Linked("logs", f"{folder}/c.log", f"{folder}/{target}", key)], NOW)
    return [str(Path(seen.path).relative_to(folder)) for seen in listing.files if not seen.matched]


def key_of(file: Path) -> tuple[int, int]:
    return file.stat().st_dev, file.stat().st_ino


def test_a_file_that_a_link_led_to_is_found_where_it_lay_whatever_it_is_called_now(folder: Path) -> None:
    file = folder / "deep" / "er" / "0.txt"
    file.write_bytes(b"x\n")
    key = key_of(file)
    assert linked(folder, "deep/er/0.txt", key) == ["deep/er/0.txt"]
    renamed = file.rename(file.with_name("other"))
    assert linked(folder, "deep/er/0.txt", key) == ["deep/er/other"]
    renamed.rename(file.with_name("0.txt.1"))
    assert linked(folder, "deep/er/0.txt", key) == ["deep/er/0.txt.1"]
    assert linked(folder, "deep/er/0.txt", None) == ["deep/er/0.txt.1"]
    file.write_bytes(b"another\n")
    assert linked(folder, "deep/er/0.txt", key) == ["deep/er/0.txt.1"]


def test_a_file_that_is_matched_is_not_looked_for_where_a_link_led_to(folder: Path) -> None:
    assert linked(folder, "a.log", key_of(folder / "a.log")) == ["a.log.1"]
    assert linked(folder, "missing/0.txt", (1, 2)) == []


def test_what_was_opened_through_a_link_says_where_it_lies(folder: Path) -> None:
    files = OpenFiles()
    (folder / "link").symlink_to(folder / "deep")
    for path, target in (("link/er/c.log", str(folder / "deep/er/c.log")), ("a.log", "")):
        opened = files.open(str(folder / path))
        assert isinstance(opened, Opened)
        assert opened.stat.target == target
        files.close(opened.handle)


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


def test_what_a_handle_held_is_forgotten_when_it_is_closed(tmp_path: Path) -> None:
    """A descriptor's number is used again: the next file by it is not read as the archive before."""
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"packed\n"))
    (tmp_path / "a.log").write_bytes(b"plain\n")
    files = OpenFiles()
    packed = files.open(str(tmp_path / "a.gz"), packed=True)
    assert isinstance(packed, Opened)
    files.close(packed.handle)
    plain = files.open(str(tmp_path / "a.log"))
    assert isinstance(plain, Opened)
    assert plain.handle == packed.handle
    assert files.read(plain.handle, 0, 100) == b"plain\n"
    files.close(plain.handle)


def test_a_read_that_the_system_cuts_short_is_continued_and_one_that_fails_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.log").write_bytes(b"0123456789")
    files = OpenFiles()
    opened = files.open(str(tmp_path / "a.log"))
    assert isinstance(opened, Opened)
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda descriptor, length, offset: pread(descriptor, min(3, length), offset))
    assert files.read(opened.handle, 1, 8) == b"12345678"
    assert files.read(opened.handle, 1, 100) == b"123456789"

    def fail(*_: int) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "pread", fail)
    assert files.read(opened.handle, 1, 8) is None
    files.close(opened.handle)


@pytest.mark.parametrize(("number", "denied"), [(errno.EACCES, True), (errno.EPERM, True), (errno.ENOENT, False)])
def test_what_is_not_for_us_to_read_is_told_from_what_is_not_there(
    monkeypatch: pytest.MonkeyPatch, number: int, *, denied: bool
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", refuse)
    assert OpenFiles().open("/var/log/a.log") == NotOpened(os.strerror(number), denied=denied)

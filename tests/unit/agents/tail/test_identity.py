"""Names that rotation gives, and fingerprints that grow."""

from pathlib import PurePath

import pytest

from headrace.agents.tail.identity import is_gzip_name, is_unreadable_name, rotated_from, running_hash, stem_of


@pytest.mark.parametrize(
    "name",
    [
        "app.log.1",
        "app.log-20260131",
        "app.log.2026-01-31_12",
        "app.log.old",
        "app.log_3",
        "app.log.1.2",
        "app.log.2026-01-31T10:00:00",
    ],
)
def test_a_rotation_suffix_is_found(name: str) -> None:
    assert "/var/app.log" in rotated_from(f"/var/{name}")


@pytest.mark.parametrize("name", ["app.log", "app.log.err", "app.log2", "other.log.1", "app.log.1/x", ".1"])
def test_other_names_are_no_rotation(name: str) -> None:
    assert "/var/app.log" not in rotated_from(f"/var/{name}")


def test_a_compressed_name() -> None:
    assert is_gzip_name("a.log.1.gz")
    assert not is_gzip_name("gz.log")
    assert not is_gzip_name("/var/.gz")
    assert is_unreadable_name("a.log.1.zst")


@pytest.mark.parametrize("name", ["app.log.gz", "app.log.1.gz", "app.log-20260131.gz"])
def test_a_gzip_file_may_be_that_of_a_log_or_of_its_rotation(name: str) -> None:
    assert "/var/app.log" in rotated_from(f"/var/{name}")
    assert rotated_from(f"/var/{name}")[0] == f"/var/{name}"[:-3]


def test_the_running_hash_does_not_depend_on_the_pieces() -> None:
    assert running_hash(b"cd", running_hash(b"ab", 0)) == running_hash(b"abcd", 0)


@pytest.mark.parametrize("name", ["app.log", "app", ".hidden", ".hidden.log", "a.", "..log", "a.b.log", "a b.c", "ä.log"])
def test_a_stem_is_that_of_pathlib(name: str) -> None:
    assert stem_of(f"/var/log.d/{name}") == PurePath(f"/var/log.d/{name}").stem

"""What a gzip file holds is read anywhere, however it is made or damaged, in bounded memory."""

import gzip
import os
import random
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from headrace.agents.tail.gzip_content import CORRUPT, TRUNCATED, GzipContent

RNG = random.Random(7)
DATA = b"".join(b"line %d took %x\n" % (number, RNG.getrandbits(80)) for number in range(120_000))


@contextmanager
def content_of(folder: Path, packed: bytes) -> Iterator[GzipContent]:
    (folder / "x.gz").write_bytes(packed)
    descriptor = os.open(folder / "x.gz", os.O_RDONLY)
    try:
        yield GzipContent(descriptor)
    finally:
        os.close(descriptor)


def measured(content: GzipContent, *marks: tuple[int, int]) -> int:
    while content.measure(1_000_000, marks) != content.end:
        pass
    return content.measured_to


def test_members_and_padding_are_one_content_that_is_read_anywhere(tmp_path: Path) -> None:
    half = len(DATA) // 2
    packed = gzip.compress(DATA[:half]) + gzip.compress(b"") + gzip.compress(DATA[half:]) + b"\0" * 70_000
    with content_of(tmp_path, packed) as content:
        assert measured(content, (0, half), (3, half + 5)) == len(DATA)
        assert (content.broken, content.lost_bytes) == ("", 0)
        assert content.crcs == {(0, half): zlib.crc32(DATA[:half]), (3, half + 5): zlib.crc32(DATA[3 : half + 5])}
        for _ in range(60):
            offset, length = RNG.randrange(len(DATA) + 10), RNG.randrange(100_000)
            assert content.read(offset, length) == DATA[offset : offset + length]


def test_the_trailer_of_one_member_is_its_hash_and_size(tmp_path: Path) -> None:
    with content_of(tmp_path, gzip.compress(DATA)) as content:
        assert content.trailer() == (zlib.crc32(DATA), len(DATA))


@pytest.mark.parametrize("cut", [1, 5, 30, 1_000, 400_000, -9, -1])
def test_of_a_file_cut_off_all_that_can_be_decoded_is_content(tmp_path: Path, cut: int) -> None:
    with content_of(tmp_path, gzip.compress(DATA)[:cut]) as content:
        end = measured(content)
        assert (content.broken, content.lost_bytes) == (TRUNCATED, 1)
        assert content.read(0, len(DATA)) == DATA[:end]
        assert end > len(DATA) // 10_000 or 0 < cut <= 30


def test_of_damaged_bytes_what_comes_before_is_content_the_same_every_time(tmp_path: Path) -> None:
    first = gzip.compress(DATA)
    damaged = bytearray(gzip.compress(DATA))
    damaged[20_000:20_100] = b"\xff" * 100
    ends = set()
    for _ in range(2):
        with content_of(tmp_path, first + bytes(damaged)) as content:
            ends.add(measured(content))
            assert content.broken == CORRUPT
            assert 0 < content.lost_bytes <= len(damaged)
            assert content.read(0, len(DATA) + 10_000) == DATA + DATA[:10_000]
    assert len(ends) == 1
    with content_of(tmp_path, first + b"no member") as content:
        assert (measured(content), content.broken, content.lost_bytes) == (len(DATA), CORRUPT, 9)


def test_a_little_that_unpacks_to_much_is_read_in_bounded_memory(tmp_path: Path) -> None:
    with content_of(tmp_path, gzip.compress(bytes(64 << 20))) as content:
        assert measured(content) == 64 << 20
        assert content.read(40 << 20, 10) == bytes(10)
        assert len(content._window) <= 1 << 20
        assert len(content._points) <= 16


def test_an_empty_file_holds_nothing(tmp_path: Path) -> None:
    with content_of(tmp_path, b"") as content:
        assert (measured(content), content.broken) == (0, "")

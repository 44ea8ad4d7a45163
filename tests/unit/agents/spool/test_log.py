"""A spool on a real folder: what was appended is there after any end; what is torn is cut, what is destroyed is told."""

import zlib
from pathlib import Path

import pytest

from headrace.agents.sources.intake import Pushed
from headrace.agents.spool.files import FolderFiles
from headrace.agents.spool.frames import Records, encode_frame, segment_name
from headrace.agents.spool.log import Hole, SpoolLog
from headrace.errors import VersionError

MARK = b"\x07its own"
SEGMENT_BYTES = 1000


def opened(folder: Path, *, least_end: int = 0) -> SpoolLog:
    files = FolderFiles(folder)
    return SpoolLog(files, MARK, segment_bytes=SEGMENT_BYTES, max_bytes=1 << 20, least_end=least_end)


def push(log: SpoolLog, *lines: bytes, cursor: str = "") -> None:
    pushed = [Pushed(line, 1_700_000_000_000, "test:", cursor=cursor) for line in lines]
    log.append(encode_frame(MARK, log.end, pushed, service="app"), cursor)


def lines_from(log: SpoolLog, start: int) -> list[bytes]:
    lines: list[bytes] = []
    while (found := log.read(start, most_lines=100, most_bytes=1 << 20, most_beside_bytes=9999, most_ms=0)) is not None:
        assert isinstance(found, Records)
        lines += found.lines
        start = found.end
    return lines


def test_what_was_appended_is_read_again_after_a_restart_over_many_segments(tmp_path: Path) -> None:
    log = opened(tmp_path)
    lines = [b"line %d " % number + b"x" * 100 for number in range(50)]
    for line in lines:
        push(log, line, cursor=line[:8].decode())
    again = opened(tmp_path)
    size = sum(len(line) + 1 for line in lines)
    assert (again.end, again.cursor) == (size, "line 49 ")
    assert lines_from(again, 0) == lines
    assert lines_from(again, sum(len(line) + 1 for line in lines[:31])) == lines[31:]
    assert len(list(tmp_path.glob("*.spool"))) > 5


def test_released_segments_are_deleted_and_numbers_go_on(tmp_path: Path) -> None:
    log = opened(tmp_path)
    for number in range(50):
        push(log, b"%d" % number * 100)
    end = log.end
    log.release(end)
    assert len(list(tmp_path.glob("*.spool"))) == 1
    again = opened(tmp_path)
    assert again.end == end > 5000
    push(again, b"next")
    assert lines_from(again, end) == [b"next"]


def test_the_cursor_is_known_when_the_segment_that_held_it_is_gone(tmp_path: Path) -> None:
    log = opened(tmp_path)
    push(log, b"x" * 900, cursor="here")
    push(log, b"x" * 900, cursor="later")
    log.release(901)
    file = tmp_path / segment_name(901)
    file.write_bytes(file.read_bytes()[:60])  # its head, and a torn frame
    assert opened(tmp_path).cursor == "here"


@pytest.mark.parametrize("keep", [1, 20, 60])
def test_a_torn_tail_is_cut_and_its_number_is_the_next_ones(tmp_path: Path, keep: int) -> None:
    log = opened(tmp_path)
    push(log, b"whole")
    file = tmp_path / segment_name(0)
    size = file.stat().st_size
    push(log, b"torn")
    file.write_bytes(file.read_bytes()[: size + keep])
    again = opened(tmp_path)
    assert (again.end, again.cut_bytes) == (6, keep)
    push(again, b"next")
    assert lines_from(opened(tmp_path), 0) == [b"whole", b"next"]


def test_garbage_in_the_middle_is_a_hole_of_known_size_and_what_is_behind_it_is_read(tmp_path: Path) -> None:
    log = opened(tmp_path)
    file = tmp_path / segment_name(0)
    push(log, b"before")
    begin = file.stat().st_size
    push(log, b"one", b"two", b"three")
    end = file.stat().st_size
    push(log, b"behind")
    data = bytearray(file.read_bytes())
    data[end - 2] ^= 0xFF
    file.write_bytes(data)
    again = opened(tmp_path)
    assert again.read(7, most_lines=9, most_bytes=999, most_beside_bytes=9999, most_ms=0) == Hole(7, 21, end - begin)
    assert lines_from(again, 21) == [b"behind"]


def test_a_segment_that_is_missing_is_a_hole(tmp_path: Path) -> None:
    log = opened(tmp_path)
    for _ in range(3):
        push(log, b"x" * 900)
    (tmp_path / segment_name(901)).unlink()
    again = opened(tmp_path)
    assert again.read(901, most_lines=9, most_bytes=999, most_beside_bytes=9999, most_ms=0) == Hole(901, 1802, 0)


def test_a_line_that_holds_the_bytes_of_a_frame_is_not_taken_for_one(tmp_path: Path) -> None:
    """What is torn is looked through for whole frames; whoever pushes does not know the mark that they begin with."""
    forged = encode_frame(b"\0guessed", 1, [Pushed(b"forged", 1, "test:")], service="app")
    log = opened(tmp_path)
    push(log, b"whole")
    push(log, forged + b"more")
    file = tmp_path / segment_name(0)
    file.write_bytes(file.read_bytes()[:-1])
    assert opened(tmp_path).end == 6


def test_numbers_that_the_state_knows_are_not_given_again(tmp_path: Path) -> None:
    log = opened(tmp_path)
    push(log, b"one")
    (tmp_path / segment_name(0)).unlink()
    again = opened(tmp_path, least_end=4)
    push(again, b"two")
    assert lines_from(again, 4) == [b"two"]


def test_a_newer_version_is_refused(tmp_path: Path) -> None:
    push(opened(tmp_path), b"one")
    file = tmp_path / segment_name(0)
    data = file.read_bytes()
    numbers = (99).to_bytes(4, "little") + data[12:16]
    text = data[20 : 20 + int.from_bytes(data[12:16], "little")]
    checksum = zlib.crc32(text, zlib.crc32(numbers)).to_bytes(4, "little")
    file.write_bytes(data[:8] + numbers + checksum + data[20:])
    with pytest.raises(VersionError, match="version 99"):
        opened(tmp_path)


def test_a_read_ends_at_lines_bytes_and_time_but_gives_one_record_always(tmp_path: Path) -> None:
    log = opened(tmp_path)
    times = [0, 10, 20, 5000, 5001]
    pushed = [Pushed(b"x" * 10, 1_700_000_000_000 + ms, "test:") for ms in times]
    log.append(encode_frame(MARK, 0, pushed, service="app"), "")

    def count(start: int, *, most_lines: int = 99, most_bytes: int = 999, most_ms: int = 99) -> int:
        found = log.read(start, most_lines=most_lines, most_bytes=most_bytes, most_beside_bytes=9999, most_ms=most_ms)
        assert isinstance(found, Records)
        return len(found.lines)

    assert count(0) == 3
    assert count(33) == 2
    assert count(0, most_lines=2) == 2
    assert count(0, most_bytes=25) == 2
    assert count(0, most_bytes=5) == 1


def test_a_read_ends_where_what_was_said_beside_the_lines_is_too_much(tmp_path: Path) -> None:
    log = opened(tmp_path)
    pushed = [Pushed(b"x", 1_700_000_000_000, "test:", fields={"name": "y" * 96}) for _ in range(5)]
    log.append(encode_frame(MARK, 0, pushed, service="app"), "")
    for most_beside_bytes, lines in ((250, 2), (300, 3), (10, 1)):
        found = log.read(0, most_lines=99, most_bytes=999, most_beside_bytes=most_beside_bytes, most_ms=0)
        assert isinstance(found, Records)
        assert (len(found.lines), found.beside_bytes) == (lines, 100 * lines)

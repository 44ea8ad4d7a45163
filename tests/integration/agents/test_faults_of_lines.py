"""Faults 12 and 13 of research/agents.md §2.8, with real processes: lines that are not ended yet, and lines of any bytes."""

import os

import pytest

from tests.integration.agents.rig import Rig
from tests.integration.agents.test_agent_ships import until


def whole_lines(parts: Rig) -> list[bytes]:
    """Lines put together from their parts, in order."""
    lines: list[bytes] = []
    for event in parts.distinct():
        data = event["message"].encode(event["encoding"])
        if event["part"]:
            lines[-1] += data
        else:
            lines.append(data)
    return lines


@pytest.mark.slow
def test_fault_12_a_partial_line_at_the_end_is_not_split_by_restarts_and_by_time(parts: Rig) -> None:
    file = parts.logs / "a.log"
    line = "2026-11-26 10:00:00 grüezi und adieu".encode()
    agent = parts.agent()
    written = b"first\n"
    for piece in (line[:22], line[22:30], line[30:]):  # the first cut is within a character
        written += piece
        file.write_bytes(written)
        said = len(parts.audit())
        agent.start()
        until(lambda: len(parts.audit()) > said and whole_lines(parts) == [b"first"])  # noqa: B023 - called at once
        agent.kill()
    assert whole_lines(parts) == [b"first"]
    file.write_bytes(written + b"\nlast\n")
    agent.start()
    until(lambda: len(whole_lines(parts)) == 3)
    agent.stop()
    assert whole_lines(parts) == [b"first", line, b"last"]
    assert [event["part"] for event in parts.distinct()] == [0, 0, 0]
    parts.check_audit()


def test_fault_12_a_partial_line_whose_file_is_rotated_is_one_line_when_its_writer_goes_on(parts: Rig) -> None:
    with (parts.logs / "a.log").open("ab", buffering=0) as writer:
        writer.write(b"first\nbegun and ")
        agent = parts.agent().start()
        until(lambda: whole_lines(parts) == [b"first"])
        (parts.logs / "a.log").rename(parts.logs / "a.log.1")
        (parts.logs / "a.log").write_bytes(b"of the new file\n")
        until(lambda: len(whole_lines(parts)) == 2)
        writer.write(b"ended\nand left open")
        until(lambda: len(whole_lines(parts)) == 3)
    assert agent.stop() == 0
    assert sorted(whole_lines(parts)) == [b"begun and ended", b"first", b"of the new file"]
    parts.ship()  # a finite run takes what nobody ended as a line
    assert sorted(whole_lines(parts)) == [b"and left open", b"begun and ended", b"first", b"of the new file"]


def test_fault_13_lines_of_any_bytes_and_10_mb_are_delivered_byte_for_byte_through_a_kill(parts: Rig) -> None:
    r"""UTF-16 is no text to us: a line ends at its byte `\n`, the rest is shipped as ISO-8859-1, and the bytes come back."""
    long = b"".join(b"%08d" % n for n in range(1_310_720))
    odd = [b"crlf\r", b"\0" * 5000, b"nul\0in it", b"\xff\xfe invalid \xc3", b"", "ümläut €".encode()]
    utf_16 = "zwei Zeilen\nin UTF-16\n".encode("utf-16")
    data = b"\n".join([*odd, long, b"after it", *odd]) + b"\n" + utf_16 + b"\n"
    (parts.logs / "a.log").write_bytes(data)
    agent = parts.agent().start()
    until(lambda: parts.count() > 5)
    agent.kill()
    agent.start()
    until(lambda: len(whole_lines(parts)) == data.count(b"\n") and b"".join(whole_lines(parts)) == data.replace(b"\n", b""))
    agent.stop()
    assert whole_lines(parts) == data.split(b"\n")[:-1]
    assert max(len(event["message"].encode()) for event in parts.distinct()) <= 512 * 1024
    assert {event["encoding"] for event in parts.distinct() if "\xff" in event["message"]} == {"iso-8859-1"}
    parts.check_audit()


@pytest.mark.slow
def test_fault_13_a_log_that_copytruncate_leaves_padded_with_nuls_is_shipped_as_it_is(parts: Rig) -> None:
    """A writer that does not append goes on at its old offset in a file that was truncated: before it is a hole of NULs."""
    with (parts.logs / "a.log").open("wb", buffering=0) as writer:
        writer.write(b"one\n" * 1000)
        agent = parts.agent().start()
        until(lambda: parts.count() == 1000)
        (parts.logs / "a.log.1").write_bytes((parts.logs / "a.log").read_bytes())
        os.truncate(parts.logs / "a.log", 0)
        writer.write(b"two\nthree\n")
        until(lambda: parts.count() == 1002)
    assert agent.stop() == 0
    parts.ship()
    after = [event for event in parts.distinct() if event["message"] != "one"]
    assert [event["message"] for event in after] == ["\0" * 4000 + "two", "three"]
    assert len(parts.events()) == 1002
    parts.check_audit()

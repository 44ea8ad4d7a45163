"""Fault 6 of twenty, and what belongs to it: logs rotated and packed while nobody looks, and archives that are named."""

import gzip
import os
from pathlib import Path

import pytest

from headrace.audit import SentMessage
from tests.integration.agents.rig import Rig


def numbered(first: int, count: int) -> bytes:
    return b"".join(b"2026-11-23 08:00:00 INFO line %d\n" % number for number in range(first, first + count))


def pack(file: Path) -> None:
    """As gzip does: the archive appears, is as old as the file, and the file is gone."""
    archive = file.with_name(f"{file.name}.gz")
    archive.write_bytes(gzip.compress(file.read_bytes()))
    stat = file.stat()
    os.utime(archive, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    file.unlink()


def test_fault_06_rotated_and_packed_while_down_goes_on_inside_the_archive(parts: Rig) -> None:
    file = parts.logs / "a.log"
    file.write_bytes(numbered(0, 500))
    assert parts.ship()["lines"] == 500
    with file.open("ab") as out:
        out.write(numbered(500, 400)[:-7])
    file.rename(parts.logs / "a.log.1")
    pack(parts.logs / "a.log.1")
    file.write_bytes(numbered(2000, 10))
    assert parts.ship()["lines"] == 410
    events = parts.events()
    assert len(events) == 910
    assert len({event["stream_id"] for event in events}) == 2
    assert parts.ship()["lines"] == 0
    parts.check_audit()


def test_fault_06_packed_while_it_runs_is_shipped_once(parts: Rig) -> None:
    file = parts.logs / "a.log"
    inputs = [{"tail": [str(parts.logs / "*.log*")], "topic": "logs"}]
    file.write_bytes(numbered(0, 300))
    agent = parts.agent(inputs=inputs).start()
    parts.wait_for(300)
    file.rename(parts.logs / "a.log.1")
    with (parts.logs / "a.log.1").open("ab") as out:
        out.write(numbered(300, 50))
    parts.wait_for(350)
    pack(parts.logs / "a.log.1")
    file.write_bytes(numbered(350, 50))
    parts.wait_for(400)
    assert agent.stop() == 0
    assert parts.ship(inputs=inputs)["lines"] == 0
    assert len(parts.events()) == 400
    parts.check_audit()


def test_fault_06_of_two_rotations_while_down_both_archives_are_read(parts: Rig) -> None:
    file = parts.logs / "a.log"
    file.write_bytes(numbered(0, 100))
    assert parts.ship()["lines"] == 100
    with file.open("ab") as out:
        out.write(numbered(100, 20))
    file.rename(parts.logs / "a.log.2")
    pack(parts.logs / "a.log.2")
    file.write_bytes(numbered(120, 30))  # written, rotated and packed, and nobody looked
    file.rename(parts.logs / "a.log.1")
    pack(parts.logs / "a.log.1")
    file.write_bytes(numbered(150, 5))
    assert parts.ship()["lines"] == 55
    assert parts.lines() == sorted(numbered(0, 155).splitlines())
    assert len(parts.events()) == 155


def test_archives_that_an_input_names_are_shipped_as_what_they_hold(parts: Rig) -> None:
    (parts.logs / "old.log.3.gz").write_bytes(gzip.compress(numbered(0, 400)) + gzip.compress(numbered(400, 100)))
    (parts.logs / "older.log.gz").write_bytes(gzip.compress(b"x" * 1_200_000 + b"\nshort"))
    (parts.logs / "text.gz").write_bytes(b"no archive\n")
    (parts.logs / "empty.gz").write_bytes(b"")
    (parts.logs / "other.zst").write_bytes(b"x")
    inputs = [{"tail": [str(parts.logs / "*.gz"), str(parts.logs / "*.zst")], "topic": "logs"}]
    assert parts.ship(inputs=inputs)["lines"] == 503
    events = [event for event in parts.events() if event["source"].endswith("older.log.gz")]
    assert [(event["part"], event["service"]) for event in events] == [(0, "older"), (1, "older"), (2, "older"), (0, "older")]
    assert "other.zst" in parts.agents[0].log()
    assert parts.ship(inputs=inputs)["lines"] == 0
    parts.check_audit()


def test_with_decompress_false_an_archive_is_the_bytes_that_it_is(parts: Rig) -> None:
    packed = gzip.compress(b"one\n")
    (parts.logs / "a.gz").write_bytes(packed)
    parts.ship(inputs=[{"tail": [str(parts.logs / "*.gz")], "topic": "logs", "decompress": False}])
    assert b"\n".join(event["message"].encode(event["encoding"]) for event in parts.events()) == packed


@pytest.mark.slow
def test_of_a_damaged_archive_what_can_be_read_is_shipped_and_the_rest_is_counted(parts: Rig) -> None:
    whole = gzip.compress(numbered(0, 5000))
    (parts.logs / "cut.gz").write_bytes(whole[: len(whole) // 2])
    inputs = [{"tail": [str(parts.logs / "*.gz")], "topic": "logs"}]
    shipped = parts.ship(inputs=inputs)["lines"]
    assert 1000 < shipped < 4999
    dropped = [message.dropped for message in parts.audit() if isinstance(message, SentMessage) and message.dropped]
    assert dropped
    assert {reason for each in dropped for reason in each} == {"truncated"}
    (parts.logs / "cut.gz").write_bytes(whole)  # it was only slow
    assert parts.ship(inputs=inputs)["lines"] == 5000 - shipped
    assert b"".join(line + b"\n" for line in in_order(parts)) == numbered(0, 5000)


def in_order(parts: Rig) -> list[bytes]:
    """Whole lines, by position."""
    lines: list[bytes] = []
    for event in sorted(parts.distinct(), key=lambda event: event["position"]):
        line = event["message"].encode(event["encoding"])
        if event["part"]:
            lines[-1] += line
        else:
            lines.append(line)
    return lines

"""Fault 19 of twenty, a link that is made to lead elsewhere, with real processes: what it led to is shipped to its end."""

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.agents.rig import Rig


def numbered(first: int, count: int) -> bytes:
    return b"".join(b"line %d\n" % number for number in range(first, first + count))


def lead(link: Path, to: Path) -> None:
    """As the kubelet and deployments do: the link is never missing."""
    new = link.with_name("new-link")
    new.symlink_to(to)
    new.rename(link)


def pod(parts: Rig) -> Path:
    folder = parts.directory / "pods" / "app"
    folder.mkdir(parents=True)
    return folder


def inputs(parts: Rig) -> list[dict[str, Any]]:
    return [{"tail": [str(parts.logs / "*.log"), str(parts.logs / "current/*.log")], "topic": "logs"}]


def shipped(parts: Rig) -> list[int]:
    """The numbers of all lines that were sent, repeats included."""
    return sorted(int(event["message"].split()[1]) for event in parts.events())


def test_fault_19_a_link_retargeted_while_the_agent_runs_is_followed_and_so_is_its_old_target(parts: Rig) -> None:
    folder, link = pod(parts), parts.logs / "app.log"
    old, new = folder / "0.log", folder / "1.log"
    old.write_bytes(numbered(0, 100))
    link.symlink_to(old)
    agent = parts.agent(inputs=inputs(parts)).start()
    parts.wait_for(100)
    with old.open("ab", buffering=0) as out:
        new.write_bytes(numbered(1000, 50))
        lead(link, new)
        parts.wait_for(150)
        out.write(numbered(100, 20))  # by a program that has not noticed yet
        parts.wait_for(170)
    with new.open("ab") as out:
        out.write(numbered(1050, 10))
    parts.wait_for(180)
    assert agent.stop() == 0
    assert parts.ship(inputs=inputs(parts))["lines"] == 0
    assert shipped(parts) == [*range(120), *range(1000, 1060)]
    parts.check_audit()


def stays(old: Path) -> None:
    pass


def is_rotated(old: Path) -> None:
    old.rename(old.with_name("0.log.20261126-101112"))


def is_renamed(old: Path) -> None:
    old.rename(old.with_name("kept"))


def is_packed(old: Path) -> None:
    archive, stat = old.with_name("0.log.20261126-101112.gz"), old.stat()
    archive.write_bytes(gzip.compress(old.read_bytes()))
    os.utime(archive, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    old.unlink()


@pytest.mark.slow
@pytest.mark.parametrize("what_becomes_of_it", [stays, is_rotated, is_renamed, is_packed])
def test_fault_19_what_a_link_led_to_before_the_agent_was_down_is_shipped_to_its_end(
    parts: Rig, what_becomes_of_it: Callable[[Path], None]
) -> None:
    folder, link = pod(parts), parts.logs / "app.log"
    old, new = folder / "0.log", folder / "1.log"
    old.write_bytes(numbered(0, 100))
    link.symlink_to(old)
    assert parts.ship(inputs=inputs(parts))["lines"] == 100
    with old.open("ab") as out:
        out.write(numbered(100, 30))
    new.write_bytes(numbered(1000, 40))
    lead(link, new)
    what_becomes_of_it(old)
    assert parts.ship(inputs=inputs(parts))["lines"] == 70
    with new.open("ab") as out:
        out.write(numbered(1040, 5))
    assert parts.ship(inputs=inputs(parts))["lines"] == 5
    assert shipped(parts) == [*range(130), *range(1000, 1045)]
    assert len({event["stream_id"] for event in parts.distinct()}) == 2
    parts.check_audit()


def test_fault_19_a_folder_that_is_a_link_may_lead_elsewhere_too(parts: Rig) -> None:
    first, second = parts.directory / "release-1", parts.directory / "release-2"
    for folder in (first, second):
        folder.mkdir()
    (first / "app.log").write_bytes(numbered(0, 10))
    (parts.logs / "current").symlink_to(first)
    assert parts.ship(inputs=inputs(parts))["lines"] == 10
    with (first / "app.log").open("ab") as out:
        out.write(numbered(10, 3))
    (second / "app.log").write_bytes(numbered(1000, 4))
    lead(parts.logs / "current", second)
    assert parts.ship(inputs=inputs(parts))["lines"] == 7
    assert parts.ship(inputs=inputs(parts))["lines"] == 0
    assert shipped(parts) == [*range(13), *range(1000, 1004)]


@pytest.mark.slow
def test_a_link_that_no_input_asks_for_any_more_is_left_and_goes_on_when_one_does(parts: Rig) -> None:
    folder, link = pod(parts), parts.logs / "app.log"
    (folder / "0.log").write_bytes(numbered(0, 10))
    link.symlink_to(folder / "0.log")
    assert parts.ship(inputs=inputs(parts))["lines"] == 10
    with (folder / "0.log").open("ab") as out:
        out.write(numbered(10, 5))
    other = parts.logs / "other.txt"
    other.write_bytes(numbered(500, 1))
    assert parts.ship(inputs=[{"tail": [str(other)], "topic": "logs"}])["lines"] == 1
    assert parts.ship(inputs=inputs(parts))["lines"] == 5
    assert shipped(parts) == [*range(15), 500]

"""Real journals, written by systemd-journal-remote and read by journalctl: cursors, boots, filters, and what is vacuumed."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest
from prometheus_client import REGISTRY

from headrace.agents.sources.intake import Pushed
from headrace.agents.sources.journald import JournaldSource
from headrace.agents.sources.journald_keys import JournaldKeys
from headrace.errors import PeerError, UsageError
from tests.integration.agents.sources.collecting import Kept, StillClock, running

REMOTE = Path(__file__).parents[4] / ".peers" / "journal-remote"
FIRST_BOOT, SECOND_BOOT = "0123456789abcdef" * 2, "1123456789abcdef" * 2
BEGAN_US = 1_795_680_000_000_000


class Journal:
    """A journal in a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()

    def write(self, file: str, numbers: range, boot: str = FIRST_BOOT, **fields: bytes) -> None:
        """Entries `entry N`, by time; units are called `odd` and `even`."""
        stream = b""
        for number in numbers:
            named = {
                "__REALTIME_TIMESTAMP": b"%d" % (BEGAN_US + number * 1000),
                "__MONOTONIC_TIMESTAMP": b"%d" % (number * 1000),
                "_BOOT_ID": boot.encode(),
                "_HOSTNAME": b"web-7",
                "_SYSTEMD_UNIT": b"odd.service" if number % 2 else b"even.service",
                "PRIORITY": b"%d" % (number % 8),
                "MESSAGE": b"entry %d" % number,
                **fields,
            }
            for name, value in named.items():
                if value.isascii() and b"\n" not in value:
                    stream += name.encode() + b"=" + value + b"\n"
                else:
                    stream += name.encode() + b"\n" + len(value).to_bytes(8, "little") + value + b"\n"
            stream += b"\n"
        libraries = next(REMOTE.glob("usr/lib/*/systemd")).parent
        environment = {**os.environ, "LD_LIBRARY_PATH": f"{libraries}:{libraries}/systemd"}
        program = next(path for path in (REMOTE / "lib/systemd", REMOTE / "usr/lib/systemd") if path.exists())
        command = [str(program / "systemd-journal-remote"), "-o", str(self.directory / f"{file}.journal"), "-"]
        subprocess.run(command, input=stream, env=environment, check=True, capture_output=True, timeout=30)

    def remove(self, file: str) -> None:
        """As vacuuming does."""
        (self.directory / f"{file}.journal").unlink()


@pytest.fixture
def journal(tmp_path: Path, missing: Callable[[str, str], NoReturn]) -> Journal:
    if not (REMOTE / "complete").exists():
        missing("journal-remote", "run make peers")
    if shutil.which("journalctl") is None:
        missing("journalctl", "apt-get install systemd")
    return Journal(tmp_path / "journal")


def taken(journal: Journal, count: int, cursor: str = "", *, then: Callable[[], None] | None = None, **keys: Any) -> Kept:
    """Run a source until it has taken in so many lines, and a moment longer."""

    async def run() -> Kept:
        kept = Kept(cursor=cursor)
        source = JournaldSource(JournaldKeys.model_validate({"directory": journal.directory, **keys}), StillClock())
        async with running(source, kept):
            if then is not None:
                await asyncio.sleep(0.5)  # it follows by now, or will have read to the end: both must do
                await asyncio.to_thread(then)
            await kept.wait_for(count)
            await asyncio.sleep(0.2)  # what comes more would be wrong
        return kept

    return asyncio.run(run())


def entries(numbers: Any) -> list[bytes]:
    return [b"entry %d" % number for number in numbers]


@contextmanager
def counted(name: str, by: float) -> Iterator[None]:
    before = REGISTRY.get_sample_value(name) or 0
    yield
    assert (REGISTRY.get_sample_value(name) or 0) - before == by


def test_all_boots_are_read_and_then_what_is_written_is_followed(journal: Journal) -> None:
    journal.write("a", range(1, 6))
    journal.write("b", range(6, 9), SECOND_BOOT)

    def go_on() -> None:
        journal.write("b", range(9, 11), SECOND_BOOT)
        journal.write("c", range(11, 13), SECOND_BOOT)

    kept = taken(journal, 12, then=go_on)
    assert kept.lines == entries(range(1, 13))
    first: Pushed = kept.pushed[0]
    assert (first.host, first.service, first.event_time_us) == ("web-7", "odd", BEGAN_US + 1000)
    assert first.source == f"journald://{journal.directory}"
    assert (first.fields["severity"], first.fields["unit"], first.fields["boot_id"]) == ("alert", "odd.service", FIRST_BOOT)


def test_it_goes_on_after_the_last_durable_entry_whatever_boots_lie_between(journal: Journal) -> None:
    journal.write("a", range(1, 6))
    cursors = [line.cursor for line in taken(journal, 5).pushed]
    journal.write("b", range(6, 9), SECOND_BOOT)
    with counted("headrace_agent_journal_cursors_gone_total", 0):
        assert taken(journal, 5, cursors[2]).lines == entries(range(4, 9))
        assert taken(journal, 3, cursors[4]).lines == entries(range(6, 9))
        assert taken(journal, 1, cursors[4], units=["even"], matches=["PRIORITY=6"]).lines == entries([6])


def test_a_vacuumed_entry_is_told_and_it_goes_on_with_the_oldest_after_it(journal: Journal) -> None:
    journal.write("a", range(1, 6))
    cursor = taken(journal, 5).pushed[2].cursor
    journal.write("b", range(6, 9), SECOND_BOOT)
    journal.remove("a")
    with counted("headrace_agent_journal_cursors_gone_total", 1):
        assert taken(journal, 3, cursor).lines == entries(range(6, 9))


def test_a_journal_of_which_nothing_is_after_the_cursor_is_read_from_its_beginning(journal: Journal) -> None:
    journal.write("a", range(100, 103))
    cursor = taken(journal, 3).cursor
    journal.remove("a")
    journal.write("b", range(1, 4))  # a clock that was set back
    with counted("headrace_agent_journal_cursors_gone_total", 1):
        assert taken(journal, 3, cursor).lines == entries(range(1, 4))


def test_units_identifiers_priorities_and_matches_choose(journal: Journal) -> None:
    journal.write("a", range(1, 9), SYSLOG_IDENTIFIER=b"a")
    assert taken(journal, 4, units=["even"]).lines == entries([2, 4, 6, 8])
    assert taken(journal, 8, units=["even", "odd.service"]).lines == entries(range(1, 9))
    assert taken(journal, 4, priority="err").lines == entries([1, 2, 3, 8])
    assert taken(journal, 3, matches=["PRIORITY=3", "+", "PRIORITY=5", "PRIORITY=6"]).lines == entries([3, 5, 6])
    assert taken(journal, 8, identifiers=["a"]).lines == entries(range(1, 9))


def test_from_the_end_only_what_comes_is_taken_in(journal: Journal) -> None:
    journal.write("a", range(1, 6))

    async def check() -> None:
        kept, number = Kept(), 6
        source = JournaldSource(JournaldKeys(directory=journal.directory, start="end"), StillClock())
        async with running(source, kept), asyncio.timeout(60):
            while not kept.lines:  # until it follows, which nobody is told
                await asyncio.to_thread(journal.write, "a", range(number, number + 1))
                number += 1
                await asyncio.sleep(0.1)
            await asyncio.to_thread(journal.write, "a", range(number, number + 1))
            first = int(kept.lines[0].split()[1])
            await kept.wait_for(number - first + 1)
        assert first > 5
        assert kept.lines == entries(range(first, number + 1))

    asyncio.run(check())


def test_messages_of_any_bytes_and_of_many_come_as_they_are(journal: Journal) -> None:
    message = b"\x00\xff\ntwo\n" + b"x" * 300_000
    journal.write("a", range(1, 2), MESSAGE=message, DATA=bytes(range(256)))
    (line,) = taken(journal, 1).pushed
    assert line.line == message
    assert line.fields["DATA"].startswith("\x00\x01")


def test_there_is_a_line_for_each_of_many_entries_while_the_spool_is_slow(journal: Journal) -> None:
    journal.write("a", range(1, 3001))

    async def check() -> None:
        kept = Kept()
        kept.room.clear()
        source = JournaldSource(JournaldKeys(directory=journal.directory), StillClock())
        async with running(source, kept):
            await asyncio.sleep(0.3)
            assert kept.lines == []
            kept.room.set()
            await kept.wait_for(3000)
        assert kept.lines == entries(range(1, 3001))
        assert len({line.cursor for line in kept.pushed}) == 3000

    asyncio.run(check())


def test_what_journalctl_complains_of_is_told(journal: Journal) -> None:
    async def check() -> None:
        for keys, told in (
            ({"directory": journal.directory / "none"}, "No such file"),
            ({"directory": journal.directory}, "follow|1"),
        ):
            source = JournaldSource(JournaldKeys.model_validate(keys), StillClock())
            with pytest.raises(PeerError, match=told):
                await asyncio.wait_for(source.run(Kept(cursor="nonsense" if "1" in told else "")), 30)

    asyncio.run(check())


def test_without_journalctl_nothing_begins() -> None:
    source = JournaldSource(JournaldKeys(journalctl="no-such-journalctl"), StillClock())
    with pytest.raises(UsageError, match="no program no-such-journalctl"):
        asyncio.run(source.run(Kept()))


@pytest.mark.parametrize(
    "keys", [{"units": ["--help"]}, {"matches": ["lower=1"]}, {"matches": ["--vacuum-time=1s"]}, {"namespace": "-x"}]
)
def test_what_is_no_filter_is_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be "):
        JournaldKeys.model_validate(keys)


@pytest.mark.parametrize(("keys", "count"), [({}, 5), ({"units": ["a"]}, 0)])
def test_what_is_vacuumed_before_it_is_read_is_counted_by_the_numbers_that_did_not_come(
    tmp_path: Path, keys: dict[str, Any], count: int
) -> None:
    """A program in journalctl's place, because no journal can be vacuumed at a chosen moment."""
    (tmp_path / "entries").write_text(
        "".join(f"__CURSOR=s=5e9;i={number:x};b=1\nMESSAGE=entry {number}\n\n" for number in (1, 2, 8, 9))
    )
    program = tmp_path / "journalctl"
    program.write_text(f'#!/bin/sh\ncase "$*" in *--follow*) exec sleep 1000;; esac\ncat {tmp_path}/entries\n')
    program.chmod(0o755)

    async def run() -> list[bytes]:
        kept = Kept()
        source = JournaldSource(JournaldKeys.model_validate({"journalctl": str(program), **keys}), StillClock())
        async with running(source, kept):
            await kept.wait_for(4)
        return kept.lines

    with counted("headrace_agent_journal_missing_entries_total", count):
        assert asyncio.run(run()) == entries([1, 2, 8, 9])

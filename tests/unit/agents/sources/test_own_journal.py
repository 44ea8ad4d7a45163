"""Which entries of a journal an agent under systemd wrote itself."""

import os

import pytest

from headrace.agents.sources.journal_export import Entry
from headrace.agents.sources.own_journal import OwnJournal, cgroups_of

CGROUP = "/system.slice/headrace-agent.service"
OURS = OwnJournal("m1", frozenset({CGROUP}))
OWN = {"_TRANSPORT": "stdout", "_SYSTEMD_CGROUP": CGROUP, "_MACHINE_ID": "m1", "MESSAGE": "ready"}


def entry(**changes: str) -> Entry:
    return Entry({name: [value.encode()] for name, value in {**OWN, **changes}.items()})


def test_its_output_is_its_own() -> None:
    assert OURS.wrote(entry())


@pytest.mark.parametrize(
    "changes",
    [
        {"_TRANSPORT": "syslog"},  # a program that it runs, and that logs for itself
        {"_SYSTEMD_CGROUP": "/system.slice/ssh.service"},
        {"_MACHINE_ID": "m2"},  # the agent of another machine, whose journal was collected here
    ],
)
def test_what_others_wrote_is_not(changes: dict[str, str]) -> None:
    assert not OURS.wrote(entry(**changes))


def test_an_entry_that_says_nothing_of_its_writer_is_not_its_own() -> None:
    assert not OURS.wrote(Entry({"MESSAGE": [b"ready"]}))


def test_without_the_journal_behind_its_output_it_has_none() -> None:
    assert OwnJournal.of_process({}) is None
    assert OwnJournal.of_process({"JOURNAL_STREAM": "1:2"}) is None  # of whoever started it; its own output goes elsewhere


@pytest.mark.skipif(not os.path.exists("/etc/machine-id"), reason="no /etc/machine-id")
def test_with_the_journal_behind_its_standard_error_it_is_of_its_control_group(capfd: pytest.CaptureFixture[str]) -> None:
    status = os.fstat(2)
    own = OwnJournal.of_process({"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
    assert own is not None
    assert own.machine_id


@pytest.mark.parametrize(
    ("text", "cgroups"),
    [
        ("0::/system.slice/a.service\n", {"/system.slice/a.service"}),
        ("2:cpu,cpuacct:/x\n1:name=systemd:/system.slice/a:b.service\n0::/\n", {"/system.slice/a:b.service"}),
        ("9:name=systemd:/\n0::/system.slice/a.service\n", {"/system.slice/a.service"}),
        ("", set()),
    ],
)
def test_the_control_groups_are_systemds(text: str, cgroups: set[str]) -> None:
    assert cgroups_of(text) == cgroups

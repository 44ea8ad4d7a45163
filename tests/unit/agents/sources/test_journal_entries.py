"""What becomes of a journal's entry."""

from headrace.agents.sources.intake import Pushed
from headrace.agents.sources.journal_entries import Missing, pushed
from headrace.agents.sources.journal_export import Entry, ExportReader

ENTRY = b"""__CURSOR=s=1;i=2
__REALTIME_TIMESTAMP=1795680000123456
__MONOTONIC_TIMESTAMP=55
__SEQNUM=7
__SEQNUM_ID=8
_BOOT_ID=b
PRIORITY=3
SYSLOG_FACILITY=10
SYSLOG_IDENTIFIER=sshd
SYSLOG_PID=1
_PID=4711
_HOSTNAME=web-7
_SYSTEMD_UNIT=ssh.service
UNIT=spoofed
CODE_FILE=a.c
TAG=a
TAG=b
MESSAGE
\x0d\0\0\0\0\0\0\0two
lines\x00\xff\xfe.

"""


def test_an_entry_is_its_message_with_the_journals_time_host_and_fields() -> None:
    (entry,) = ExportReader().feed(ENTRY)
    assert pushed(entry, 9, "journald://") == Pushed(
        b"two\nlines\x00\xff\xfe.",
        9,
        "journald://",
        host="web-7",
        service="sshd",
        event_time_us=1795680000123456,
        fields={
            "boot_id": "b",
            "severity": "err",
            "facility": "authpriv",
            "program": "sshd",
            "SYSLOG_PID": "1",
            "pid": "4711",
            "unit": "ssh.service",
            "UNIT": "spoofed",
            "CODE_FILE": "a.c",
            "TAG": "a\nb",
        },
        cursor="s=1;i=2",
    )


def test_an_entry_without_a_message_is_an_empty_line_and_the_unit_is_the_service_where_nothing_better_is_known() -> None:
    (entry,) = ExportReader().feed(b"__CURSOR=c\n_SYSTEMD_UNIT=app.service\nPRIORITY=many\nSYSLOG_PID=5\n\n")
    line = pushed(entry, 9, "journald://")
    assert (line.line, line.service, line.host, line.event_time_us) == (b"", "app", None, None)
    assert line.fields == {"unit": "app.service", "severity": "many", "SYSLOG_PID": "5", "pid": "5"}


def numbered(*numbers: int, machine: str = "m") -> list[Entry]:
    text = "".join(f"__CURSOR=s=5e9;i={number:x};b=1;m=2;t=3;x=4\n_MACHINE_ID={machine}\n\n" for number in numbers)
    return list(ExportReader().feed(text.encode()))


def test_numbers_that_are_passed_over_are_missing_by_machine_and_a_new_journal_is_none() -> None:
    missing = Missing()
    assert [missing.before(each) for each in numbered(9, 10, 14, 15, 1, 2)] == [0, 0, 3, 0, 0, 0]
    assert [missing.before(each) for each in numbered(200, 202, machine="other")] == [0, 1]
    assert [missing.before(each) for each in numbered(3, 0xF)] == [0, 11]
    (without,) = ExportReader().feed(b"MESSAGE=a\n\n")
    assert missing.before(without) == 0


def test_what_is_known_of_machines_is_bounded() -> None:
    missing = Missing()
    for number in range(1000):
        missing.before(*numbered(number, machine=str(number)))
    assert len(missing._last) <= 257

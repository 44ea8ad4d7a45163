"""Host and service by a message's head."""

import pytest

from headrace.agents.sources.syslog_message import sender_of, without_trailer

MESSAGES: list[tuple[bytes, str | None, str | None]] = [
    # RFC 5424 §6.5
    (
        b"<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \xef\xbb\xbf'su root' failed",
        "mymachine.example.com",
        "su",
    ),
    (b"<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 - - %% It's time", "192.0.2.1", "myproc"),
    (b'<165>1 2003-10-11T22:14:15.003Z - - - ID47 [a b="c"] text', None, None),
    (b"<165>1 - mymachine - - - -", "mymachine", None),
    # RFC 3164 §5.4
    (b"<34>Oct 11 22:14:15 mymachine su: 'su root' failed for lonvick on /dev/pts/8", "mymachine", "su"),
    (b"<13>Feb  5 17:32:18 10.0.0.99 Use the BFG!", "10.0.0.99", None),
    (b"<13>Feb  5 17:32:18.123456 h sshd[4711]: Accepted", "h", "sshd"),
    (b"<13>2026-11-26T18:00:00.123456+01:00 h app[1]: as rsyslog forwards it", "h", "app"),
    # as syslog(3) writes to /dev/log
    (b"<13>Nov 26 18:00:00 cron[12]: no host here", None, "cron"),
    (b"<13>Nov 26 18:00:00 cron: no host here", None, "cron"),
    (b"<13>Nov 26 18:00:00 fe80::1 su: an address for a host", "fe80::1", "su"),
    # as Python's SysLogHandler writes
    (b"<14>nothing but a priority", None, None),
    (b"no priority", None, None),
    (b"", None, None),
    (b"<13>Feb  5 17:32:18 " + b"h" * 300 + b" a: b", None, None),
    (b"<13>Feb  5 17:32:18 h\xff a: b", None, None),
]


@pytest.mark.parametrize(("message", "host", "service"), MESSAGES)
def test_host_and_service_are_those_that_the_head_names(message: bytes, host: str | None, service: str | None) -> None:
    assert sender_of(message) == (host, service)


def test_one_newline_or_nul_at_the_end_is_not_the_messages() -> None:
    assert [without_trailer(each) for each in (b"a\n", b"a\0", b"a\n\n", b"a", b"")] == [b"a", b"a", b"a\n", b"a", b""]

"""syslog: RFC 5424 and RFC 3164, with their priority or, as in files, without it."""

import re

from headrace.agents.events import timestamps
from headrace.agents.events.parsers.parser import Attempt, Parsed
from headrace.agents.events.times import Times
from headrace.agents.events.zones import Local

_SYSLOG_5424 = re.compile(
    r"<(\d{1,3})>1 (\S++) (\S++) (\S++) (\S++) (\S++) (-|(?:\[(?:[^\]\"\\]++|\"(?:[^\"\\]++|\\.)*+\"|\\.)*+\])++)(?: |\Z)"
)
_SYSLOG_3164 = re.compile(
    r"(?:<(\d{1,3})>)?([A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?:\.\d{1,9})?) (\S++) ([^\s:\[]{1,64}+)(?:\[([^\]\s]{1,32}+)\])?:"
)
_SYSLOG_3164_HEAD = re.compile(r"(?:<(\d{1,3})>)?([A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?:\.\d{1,9})?) (\S++)")
# What rsyslog writes to files by default since Debian 12, and forwards, with a priority: an ISO time in place of RFC 3164's.
_ISO_HEAD = re.compile(
    r"(?:<(\d{1,3})>)?(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:?\d\d)) (\S++) "
    r"([^\s:\[]{1,64}+)(?:\[([^\]\s]{1,32}+)\])?:"
)
# What syslog(3) writes to /dev/log: no host.
_LOCAL_HEAD = re.compile(
    r"<(\d{1,3})>([A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?:\.\d{1,9})?) ([^\s:\[]{1,64}+)(?:\[([^\]\s]{1,32}+)\])?:(?: |\Z)"
)
_SIGNS = ("+", "-")
_FACILITIES = (
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
    "ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
)  # fmt: skip
_SEVERITIES = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")


def syslog(times: Times, *, with_local: bool = True) -> Attempt:
    """Either RFC's form; `with_local` says that what is written on a host itself counts too: rsyslog's files, and /dev/log (in
    version 1 they did not)."""
    local = times.local

    def attempt(text: str, read_time_us: int) -> Parsed | None:
        if text.startswith("<"):
            match = _SYSLOG_5424.match(text)
            if match is not None:
                return _of_5424(match, local)
            match = _LOCAL_HEAD.match(text) if with_local else None
            if match is not None:
                priority, time, program, process = match.groups()
                return timestamps.bsd(time, read_time_us, local), _priority(priority) | _named(None, program, process)
        match = _ISO_HEAD.match(text) if with_local and (text[:1].isdigit() or text[:1] == "<") else None
        if match is not None:
            priority, time, host, program, process = match.groups()
            return timestamps.iso(time), _priority(priority) | _named(host, program, process)
        match = _SYSLOG_3164.match(text) or _SYSLOG_3164_HEAD.match(text)
        if match is None:
            return None
        priority, time, host, *named = match.groups()
        if with_local and host.endswith(":"):  # no host, but a program, and what it says
            fields = {"program": host[:-1]}
        else:
            fields = _named(host, *named) if named else {"hostname": host}
        return timestamps.bsd(time, read_time_us, local), _priority(priority) | fields

    return attempt


def rsyslog_file(times: Times) -> Attempt:
    """Only what is surely a line of a file that rsyslog wrote, among lines of whatever kind.

    Programs write such a time with their level behind it, in capitals: that is no host.
    """
    system = syslog(times)

    def attempt(text: str, read_time_us: int) -> Parsed | None:
        if text[26:27] not in _SIGNS and text[19:20] not in _SIGNS:
            return None
        parsed = system(text, read_time_us)
        if parsed is None or "program" not in parsed[1]:
            return None
        host = parsed[1]["hostname"]
        return None if host.isalpha() and host.isupper() else parsed

    return attempt


def _named(host: str | None, program: str | None, process: str | None) -> dict[str, str]:
    named = {"hostname": host, "program": program, "pid": process}
    return {name: value for name, value in named.items() if value is not None}


def _of_5424(match: re.Match[str], local: Local) -> Parsed:
    priority, time, host, program, process, message_id, data = match.groups()
    named = {"hostname": host, "program": program, "pid": process, "msgid": message_id, "structured_data": data}
    fields = _priority(priority) | {name: value for name, value in named.items() if value != "-"}
    return timestamps.iso(time, 0, local), fields


def _priority(text: str | None) -> dict[str, str]:
    if text is None or int(text) >= 8 * len(_FACILITIES):
        return {}
    facility, severity = divmod(int(text), 8)
    return {"facility": _FACILITIES[facility], "severity": _SEVERITIES[severity]}

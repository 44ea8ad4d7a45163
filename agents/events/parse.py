"""Parsers: what a line says about its time, and its fields. Pure, deterministic, and none changes the line.

A parser is a function of the line's text and its read time (µs) to the event time (µs, or None where the line has none) and
fields. A parser that does not understand a line says what plain text says. Regular expressions are possessive where they
could backtrack.
"""

import json
import re
from collections.abc import Callable
from typing import Any

from headrace.agents.events import timestamps

Parsed = tuple[int | None, dict[str, str]]
Parser = Callable[[str, int], Parsed]

# Where JSON logs keep their time, the more specific first.
_TIME_KEYS = ("@timestamp", "timestamp", "time", "ts", "datetime", "event_time", "eventTime", "asctime", "date", "t")
_QUOTED = r'"((?:[^"\\]++|\\.)*+)"'
_ACCESS = re.compile(
    r"(\S++) (\S++) (\S++) \[([^\]]++)\] " + _QUOTED + r" (\d{3}) (\d++|-)(?: " + _QUOTED + " " + _QUOTED + ")?"
)
_ACCESS_FIELDS = ("client", "ident", "user", "time", "request", "status", "size", "referer", "user_agent")
_SYSLOG_5424 = re.compile(
    r"<(\d{1,3})>1 (\S++) (\S++) (\S++) (\S++) (\S++) (-|(?:\[(?:[^\]\"\\]++|\"(?:[^\"\\]++|\\.)*+\"|\\.)*+\])++)(?: |\Z)"
)
_SYSLOG_3164 = re.compile(
    r"(?:<(\d{1,3})>)?([A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?:\.\d{1,9})?) (\S++) ([^\s:\[]{1,64}+)(?:\[([^\]\s]{1,32}+)\])?:"
)
_SYSLOG_3164_HEAD = re.compile(r"(?:<(\d{1,3})>)?([A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?:\.\d{1,9})?) (\S++)")
_FACILITIES = (
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
    "ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
)  # fmt: skip
_SEVERITIES = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")


def plain(text: str, read_time_us: int) -> Parsed:
    """Text: a time at its start at most, and no fields."""
    return timestamps.at_start(text, read_time_us), {}


def json_object(text: str, read_time_us: int) -> Parsed:
    """A JSON object a line; its members are the fields."""
    return _json(text, read_time_us) or plain(text, read_time_us)


def access_log(text: str, read_time_us: int) -> Parsed:
    """The common and the combined log format of web servers."""
    return _access(text) or plain(text, read_time_us)


def syslog(text: str, read_time_us: int) -> Parsed:
    """RFC 5424 and RFC 3164, with their priority or, as in files, without it."""
    return _syslog(text, read_time_us) or plain(text, read_time_us)


def auto(text: str, read_time_us: int) -> Parsed:
    """Whatever the line is: a JSON object, an access log, syslog, else plain."""
    first = text[:1]
    if first == "{":
        return _json(text, read_time_us) or plain(text, read_time_us)
    if first == "<" or "A" <= first <= "Z":
        parsed = _syslog(text, read_time_us)
        if parsed is not None:
            return parsed
    if first not in ("[", "<"):
        parsed = _access(text)
        if parsed is not None:
            return parsed
    return timestamps.at_start(text, read_time_us), {}


PARSERS: dict[str, Parser] = {"auto": auto, "json": json_object, "access": access_log, "syslog": syslog, "plain": plain}


def _json(text: str, read_time_us: int) -> Parsed | None:
    try:
        members = json.loads(text)
    except (ValueError, RecursionError):  # ValueError also for integers of thousands of digits
        return None
    if not isinstance(members, dict):
        return None
    fields = {name: _text(value) for name, value in members.items() if value is not None}
    for name in _TIME_KEYS:
        if name in members:
            event_time_us = _time(members[name], read_time_us)
            if event_time_us is not None:
                return event_time_us, fields
    return None, fields


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _time(value: Any, read_time_us: int) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return timestamps.number(value) if value == value and abs(value) < 1e20 else None
    return timestamps.at_start(value, read_time_us) if isinstance(value, str) else None


def _access(text: str) -> Parsed | None:
    match = _ACCESS.match(text)
    if match is None:
        return None
    fields = {
        name: value for name, value in zip(_ACCESS_FIELDS, match.groups(), strict=True) if value is not None and value != "-"
    }
    event_time_us = timestamps.common_log(fields.pop("time", ""))
    request = fields.get("request", "").split(" ")
    if len(request) == 3:
        del fields["request"]
        fields["method"], fields["path"], fields["protocol"] = request
    return event_time_us, fields


def _syslog(text: str, read_time_us: int) -> Parsed | None:
    if text.startswith("<"):
        match = _SYSLOG_5424.match(text)
        if match is not None:
            return _syslog_5424(match, read_time_us)
    match = _SYSLOG_3164.match(text)
    if match is not None:
        priority, time, host, program, process = match.groups()
        fields = _priority(priority) | {"hostname": host, "program": program}
        if process is not None:
            fields["pid"] = process
        return timestamps.bsd(time, read_time_us), fields
    match = _SYSLOG_3164_HEAD.match(text)
    if match is None:
        return None
    return timestamps.bsd(match[2], read_time_us), _priority(match[1]) | {"hostname": match[3]}


def _syslog_5424(match: re.Match[str], read_time_us: int) -> Parsed:
    priority, time, host, program, process, message_id, data = match.groups()
    named = {"hostname": host, "program": program, "pid": process, "msgid": message_id, "structured_data": data}
    fields = _priority(priority) | {name: value for name, value in named.items() if value != "-"}
    return timestamps.iso(time, read_time_us), fields


def _priority(text: str | None) -> dict[str, str]:
    if text is None or int(text) >= 8 * len(_FACILITIES):
        return {}
    facility, severity = divmod(int(text), 8)
    return {"facility": _FACILITIES[facility], "severity": _SEVERITIES[severity]}

"""The common and the combined log format of web servers."""

import re

from headrace.agents.events import timestamps
from headrace.agents.events.parsers.parser import Attempt, Parsed
from headrace.agents.events.times import Times

_QUOTED = r'"((?:[^"\\]++|\\.)*+)"'
_ACCESS = re.compile(
    r"(\S++) (\S++) (\S++) \[([^\]]++)\] " + _QUOTED + r" (\d{3}) (\d++|-)(?: " + _QUOTED + " " + _QUOTED + ")?"
)
# Debian's `other_vhosts_access.log`: the site before it.
_SITE = re.compile(r"([\w.-]{1,255}+:\d{1,5}) ")
_FIELDS = ("client", "ident", "user", "time", "request", "status", "size", "referer", "user_agent")


def access_log(times: Times, *, with_site: bool = True) -> Attempt:
    """`client ident user [time] "request" status size`, in the combined format with `"referer" "user_agent"` behind it.

    `with_site` says that a site may stand before it, as `vhost_combined` has it, and that its time may be another (in
    version 1 they might not)."""

    def attempt(text: str, read_time_us: int) -> Parsed | None:
        if '] "' not in text:  # most lines of other kinds
            return None
        match, site = _ACCESS.match(text), None
        if match is None:
            site = _SITE.match(text) if with_site else None
            match = _ACCESS.match(text, site.end()) if site is not None else None
            if match is None:
                return None
        fields = {
            name: value for name, value in zip(_FIELDS, match.groups(), strict=True) if value is not None and value != "-"
        }
        time = fields.pop("time", "")
        if times.formats or (with_site and time[20:21] == "."):  # common_log reads no fraction
            event_time_us = times.of(time, read_time_us)
        else:
            event_time_us = timestamps.common_log(time, 0, times.local)
            if event_time_us is None and with_site:  # as Werkzeug and Python's http.server write it
                event_time_us = times.of(time, read_time_us)
        request = fields.get("request", "").split(" ")
        if len(request) == 3:
            del fields["request"]
            fields["method"], fields["path"], fields["protocol"] = request
        if site is not None:
            fields["vhost"] = site[1]
        return event_time_us, fields

    return attempt

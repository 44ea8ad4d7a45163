"""Lines of the Linux audit daemon, raw or enriched: `type=SYSCALL msg=audit(1364481363.243:24287): arch=c000003e syscall=2 …`.

Values in quotes lose them; what a user's message holds, `msg='op=login res=success'`, counts as the record's own.
Source: linux-audit/audit-documentation, "Audit Event Fields"; auditd.conf(5), log_format.
"""

import re

from headrace.agents.events.parsers.parser import Attempt, Parsed
from headrace.agents.events.times import Times

_HEAD = re.compile(r"(?:node=(\S++) )?type=(\w++) msg=audit\((\d{1,11}+)\.(\d{3}):(\d{1,20}+)\) ?: ?")
_PAIR = re.compile(r"""(?<![\w-])([\w-]++)=(?:"([^"]*+)"|([^\s\x1d'"]*+))""")


def audit(_: Times) -> Attempt:
    """Fields `type`, `serial` (which records of one event share), `node` where it is said, and the pairs."""

    def attempt(text: str, _: int) -> Parsed | None:
        match = _HEAD.match(text)
        if match is None:
            return None
        node, kind, seconds, millis, serial = match.groups()
        fields = {
            key: quoted if bare is None else bare
            for key, quoted, bare in (pair.groups() for pair in _PAIR.finditer(text, match.end()))
            if bare != "" or key != "msg"
        }
        fields |= {"type": kind, "serial": serial} | ({"node": node} if node is not None else {})
        return int(seconds) * 1_000_000 + int(millis) * 1000, fields

    return attempt

"""What becomes of a journal's entry: the line is its MESSAGE, its time the journal's, and its fields what journald knows. Pure.

Fields that have a common name get it (`severity`, `facility`, `program`, `pid`, `unit` …, as those of syslog are called);
all others keep the journal's, in capitals, so that nobody's own field passes for one of journald's.

Source: systemd.journal-fields(7).
"""

import re
from typing import Final

from headrace.agents.sources.intake import Pushed
from headrace.agents.sources.journal_export import Entry
from headrace.agents.sources.syslog_names import FACILITIES, SEVERITIES

_NAMES: Final = {
    "SYSLOG_IDENTIFIER": "program",
    "_PID": "pid",
    "_UID": "uid",
    "_GID": "gid",
    "_COMM": "comm",
    "_EXE": "exe",
    "_CMDLINE": "cmdline",
    "_SYSTEMD_UNIT": "unit",
    "_SYSTEMD_USER_UNIT": "user_unit",
    "_TRANSPORT": "transport",
    "_BOOT_ID": "boot_id",
    "_MACHINE_ID": "machine_id",
    "MESSAGE_ID": "message_id",
}
_CODES: Final = {"PRIORITY": ("severity", SEVERITIES), "SYSLOG_FACILITY": ("facility", FACILITIES)}
_ELSEWHERE: Final = {"MESSAGE", "_HOSTNAME", "__CURSOR", "__REALTIME_TIMESTAMP", "__MONOTONIC_TIMESTAMP"}
_ELSEWHERE_PREFIX: Final = "__SEQNUM"
_NUMBER: Final = re.compile(r"\bi=([0-9a-f]{1,16})\b")  # of a cursor: the entry's sequence number
_MOST_MACHINES: Final = 256


class Missing:
    """Entries that a journal has numbered and that did not come: vacuumed before they were read, or in files not ours to read.

    journald numbers the entries of all its files together, one after another, and the number is part of every cursor (before
    systemd 254 too, which has it as __SEQNUM as well). A number that is not greater than the last begins a new journal.
    """

    def __init__(self) -> None:
        self._last: dict[str, int] = {}  # by machine: a directory may hold the journals of many

    def before(self, entry: Entry) -> int:
        """How many of its machine's are missing between the one before it and this one."""
        match = _NUMBER.search(entry.text("__CURSOR") or "")
        if match is None:
            return 0
        number, machine = int(match[1], 16), entry.text("_MACHINE_ID") or ""
        last = self._last.pop(machine, None)
        if len(self._last) >= _MOST_MACHINES:
            self._last.clear()
        self._last[machine] = number
        return 0 if last is None else max(0, number - last - 1)


def pushed(entry: Entry, received_ms: int, source: str) -> Pushed:
    """The line of an entry."""
    messages = entry.fields.get("MESSAGE", [b""])
    unit = entry.text("_SYSTEMD_UNIT") or ""
    return Pushed(
        messages[0],
        received_ms,
        source,
        host=entry.text("_HOSTNAME") or None,
        service=entry.text("SYSLOG_IDENTIFIER") or unit.removesuffix(".service") or None,
        event_time_us=_time_us(entry),
        fields=_fields(entry),
        cursor=entry.text("__CURSOR") or "",
    )


def _fields(entry: Entry) -> dict[str, str]:
    fields: dict[str, str] = {}
    for name, values in entry.fields.items():
        if name in _ELSEWHERE or name.startswith(_ELSEWHERE_PREFIX):
            continue
        text = "\n".join(value.decode("utf-8", "backslashreplace") for value in values)
        if name in _CODES:
            called, names = _CODES[name]
            fields[called] = names[int(text)] if text.isascii() and text.isdigit() and int(text) < len(names) else text
        else:
            fields[_NAMES.get(name, name)] = text
    if "SYSLOG_PID" in fields:
        fields.setdefault("pid", fields["SYSLOG_PID"])
    if entry.message_cut_bytes or entry.others_cut_bytes:
        fields["cut_bytes"] = str(entry.message_cut_bytes + entry.others_cut_bytes)
    return fields


def _time_us(entry: Entry) -> int | None:
    text = entry.text("__REALTIME_TIMESTAMP") or ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None

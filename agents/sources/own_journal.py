"""What an agent's own unit writes to the journal, and what the agent therefore does not take from there.

Under systemd an agent's log goes to the journal. An agent that reads the journal would ship it, and a line of its log about a
line of its log would go round for ever.

Source: systemd.exec(5), $JOURNAL_STREAM; systemd.journal-fields(7), whose fields with a `_` before them nobody can make up.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from headrace.agents.sources.journal_export import Entry


@dataclass(frozen=True, slots=True)
class OwnJournal:
    """The machine, as journals name it, and the control groups whose output is ours."""

    machine_id: str
    cgroups: frozenset[str]

    @classmethod
    def of_process(cls, environment: Mapping[str, str]) -> "OwnJournal | None":
        """This process's; None where neither its standard output nor its standard error is the journal's."""
        stream = environment.get("JOURNAL_STREAM")
        if stream is None or stream not in (_stream(1), _stream(2)):
            return None
        try:
            return cls(Path("/etc/machine-id").read_text().strip(), cgroups_of(Path("/proc/self/cgroup").read_text()))
        except OSError:
            return None

    def wrote(self, entry: Entry) -> bool:
        """Whether an entry is of our output: what programs of our unit say to syslog or the journal itself is not."""
        return (
            entry.text("_TRANSPORT") == "stdout"
            and entry.text("_SYSTEMD_CGROUP") in self.cgroups
            and entry.text("_MACHINE_ID") == self.machine_id
        )


def cgroups_of(text: str) -> frozenset[str]:
    """Those that systemd may have made, of what /proc/PID/cgroup says (cgroups(7)): version 2's, and version 1's named one."""
    lines = [line.split(":", 2) for line in text.splitlines() if line.count(":") >= 2]
    return frozenset(path for _, controllers, path in lines if controllers in ("", "name=systemd") and path != "/")


def _stream(descriptor: int) -> str:
    try:
        status = os.fstat(descriptor)
    except OSError:  # closed
        return ""
    return f"{status.st_dev}:{status.st_ino}"

"""What a configuration says of a journald input."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from headrace.config import Section
from headrace.config_values import matching

Match = Annotated[
    str,
    matching(
        r"\+|[A-Z_][A-Z0-9_]{0,63}=[^\x00]*", "must be a field and a value; write it as _TRANSPORT=kernel, or + between two"
    ),
]
Named = Annotated[
    str, matching(r"[^\x00-\x1f-][^\x00-\x1f]*", "must be a name; begin it without `-`, and use no control characters")
]
Priority = Literal["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"]


class JournaldKeys(Section):
    """Which entries of which journal are taken in; by default all of this machine's."""

    derived = ("source",)

    units: list[Named] = Field([], description="entries of these units only, as `journalctl --unit`")
    identifiers: list[Named] = Field([], description="entries with these syslog identifiers only")
    priority: Priority | None = Field(None, description="entries of this priority and above only")
    matches: list[Match] = Field(
        [], description="entries with FIELD=value only; those of one field are alternatives, `+` is or (journalctl(1))"
    )
    directory: Path | None = Field(None, description="the journal in this directory, as a container has its host's")
    namespace: Named | None = Field(None, description="the journal of this namespace")
    start: Literal["beginning", "end"] = Field(
        "beginning", description="where to begin a journal of which nothing has been taken in yet"
    )
    journalctl: str = Field("journalctl", min_length=1, description="the program that reads journals")

    @property
    def source(self) -> str:
        """Which journal it is, as a URL."""
        return f"journald://{self.namespace or self.directory or ''}"

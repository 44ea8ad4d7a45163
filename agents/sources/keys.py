"""What a configuration says of pushed inputs: the pipe, commands, sockets of programs, and the spool of any of them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, WithJsonSchema

from headrace.config import Section
from headrace.config_values import matching

if TYPE_CHECKING:
    from headrace.agents.sources.doors import Door

MEBIBYTE = 1 << 20
Mode = Annotated[
    str,
    matching(r"0?[0-7]{3}", "must be permissions in octal; write them in quotes, as '0660'"),
    WithJsonSchema({"type": "string", "pattern": "^0?[0-7]{3}$"}),
]


class SpoolKeys(Section):
    """Where pushed lines are kept until they are acknowledged."""

    max_bytes: int = Field(1024 * MEBIBYTE, ge=MEBIBYTE, description="how much of the disk it may take")
    when_full: Literal["block", "drop_newest"] = Field(
        "block",
        description="block: take in no more until there is room; drop_newest: drop what comes, and count it in the audit",
    )


class StdinKeys(Section):
    """The agent's standard input."""

    max_line_bytes: int = Field(4 * MEBIBYTE, ge=1024, le=16 * MEBIBYTE, description="a longer line is taken in as several")


class ExecKeys(Section):
    """A command whose lines are taken in."""

    command: list[str] = Field(min_length=1, description="the program and its arguments; no shell is between")
    mode: Literal["stream", "every"] = Field(
        "stream", description="stream: it runs for ever, and is started again when it ends; every: it runs now and then"
    )
    interval_s: float = Field(60.0, ge=0.1, description="every: from one start to the next, s; runs do not overlap")
    timeout_s: float | None = Field(None, gt=0, description="every: a run is ended after so long, s; by default the interval")
    restart_s: float = Field(1.0, ge=0.1, description="stream: how long until it is started again, s; doubled up to a minute")
    stderr: Literal["log", "input"] = Field(
        "log", description="log: what it writes to standard error goes to the agent's own log; input: it is taken in as well"
    )
    environment: dict[str, str] = Field({}, description="variables beside the agent's own")
    directory: Path | None = Field(None, description="where it runs")
    max_line_bytes: int = Field(MEBIBYTE, ge=1024, le=16 * MEBIBYTE, description="a longer line is taken in as several")


class UnixKeys(Section):
    """A socket of this machine."""

    path: Path = Field(description="where the socket is made; one that nobody listens at any more is replaced")
    type: Literal["stream", "datagram"] = Field("stream", description="stream or datagram")
    framing: Literal["lines", "octets", "length"] = Field(
        "lines",
        description="of a stream: lines end with a newline; octets: `LENGTH SP bytes` (RFC 6587); length: 4 bytes, big-endian",
    )
    mode: Mode = Field("0660", description="the socket's permissions, octal: who may write to it, and so log")
    max_connections: int = Field(256, ge=1, le=10_000, description="how many may be connected at a time")
    max_line_bytes: int = Field(
        MEBIBYTE, ge=1024, le=16 * MEBIBYTE, description="a longer line is taken in as several; one that is counted, refused"
    )

    def doors(self, name: str) -> "list[Door]":
        """The socket, of the input of that name."""
        from headrace.agents.sources.listening import unix_doors  # asyncio, which a check does without

        return unix_doors(self, name)

"""What a configuration says of pushed inputs: the pipe, sockets of programs, and the spool of any of them."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from headrace.config import Section

MEBIBYTE = 1 << 20


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


class UnixKeys(Section):
    """A socket of this machine."""

    path: Path = Field(description="where the socket is made; one that nobody listens at any more is replaced")
    type: Literal["stream", "datagram"] = Field("stream", description="stream or datagram")
    framing: Literal["lines", "octets", "length"] = Field(
        "lines",
        description="of a stream: lines end with a newline; octets: `LENGTH SP bytes` (RFC 6587); length: 4 bytes, big-endian",
    )
    mode: str = Field(
        "0660", pattern=r"^0?[0-7]{3}$", description="the socket's permissions, octal: who may write to it, and so log"
    )
    max_connections: int = Field(256, ge=1, le=10_000, description="how many may be connected at a time")
    max_line_bytes: int = Field(
        MEBIBYTE, ge=1024, le=16 * MEBIBYTE, description="a longer line is taken in as several; one that is counted, refused"
    )

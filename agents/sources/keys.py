"""What a configuration says of pushed inputs: the pipe, and the spool of any of them."""

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

"""headrace: log lines from app hosts to SQL rows, with proof that every line arrived.

The package holds one symbolic link per part (`agents`, `broker`, `schemas`, `sinks`, `jobs`), so that the parts live at the
top of the repository and are imported as `headrace.<part>`.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from headrace.jobs.sql.connection import Connection, When

__version__ = "0.1.0"


def connect(
    root: "str | Path",
    *,
    as_of: "When | None" = None,
    memory_bytes: int | None = None,
    threads: int | None = None,
) -> "Connection":
    """SQL and Arrow datasets over the tables below a root, a path or a URL: see `headrace.jobs.sql.connection.Connection`."""
    from headrace.jobs.sql.connection import Connection

    return Connection(root, as_of=as_of, memory_bytes=memory_bytes, threads=threads)

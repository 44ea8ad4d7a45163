"""How statements run: what a session takes, what they may do, and as of when they see tables."""

import argparse
from dataclasses import dataclass
from typing import Final

from headrace.errors import UsageError

LEAST_MEMORY: Final = 1 << 24
"""Of DuckDB, bytes; with less it does not start."""
MOST_MEMORY: Final = 1 << 50
MOST_THREADS: Final = 1024
"""With more than the system lets it start, DuckDB ends the process."""


@dataclass(frozen=True, slots=True)
class Options:
    """Of one session.

    Args:
        memory_bytes: of DuckDB, beyond which it spills; None: half of what this process may have.
        threads: None: as many as there are cores.
        unsafe: statements may do whatever DuckDB can, but write below the tables' root.
        as_of: how tables are seen that a statement does not name as of something: a record's number, a time, None: now.
        bounded: hold this process to `memory_bytes` while a statement runs, whatever takes it (limits.py): for a command's own.
        confine: give this process's right to open other files up, where the kernel can (walls.py): for a command of its own.
        readable: more folders whose files are tables'. writable: paths that the process goes on to write, when it is confined.
    """

    memory_bytes: int | None = None
    threads: int | None = None
    unsafe: bool = False
    as_of: str | None = None
    bounded: bool = False
    confine: bool = False
    readable: tuple[str, ...] = ()
    writable: tuple[str, ...] = ()


DEFAULTS: Final = Options()


def add_session_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of a command that runs statements."""
    parser.add_argument("--as-of", metavar="WHEN", help="see tables as of a record's number or a time (2026-11-27T12:00)")
    parser.add_argument(
        "--memory", metavar="SIZE", help="what a statement may take, as 512MB, before it spills (default: half of all)"
    )
    parser.add_argument("--threads", metavar="N", type=int, help="default: one a core")
    parser.add_argument(
        "--unsafe", action="store_true", help="SQL may read and write files (never the tables) and load extensions"
    )
    parser.add_argument("--verbose", action="store_true", help="say on stderr how many files were opened, and what guards them")


def options_of(args: argparse.Namespace, *, writable: tuple[str, ...] = ()) -> Options:
    """What they say.

    Args:
        writable: what the command itself goes on to write.
    Raises:
        UsageError: a size, a number or a moment is none.
    """
    if args.threads is not None and not 1 <= args.threads <= MOST_THREADS:
        raise UsageError(f"--threads {args.threads}: give 1 to {MOST_THREADS}")
    if args.as_of is not None:
        from headrace.sinks.table.history import Moment

        Moment.parse(args.as_of)
    memory = None if args.memory is None else _size(args.memory)
    own = args.is_own_process
    return Options(memory, args.threads, args.unsafe, args.as_of, bounded=own, confine=own, writable=writable)


def _size(text: str) -> int:
    from headrace.sinks.measures import parse_size

    try:
        size = parse_size(text)
    except ValueError as error:
        raise UsageError(f"--memory {text}: {error}") from None
    if not LEAST_MEMORY <= size <= MOST_MEMORY:
        raise UsageError(f"--memory {text}: DuckDB needs 16MiB at least, and no machine has more than 1,000,000GB")
    return size

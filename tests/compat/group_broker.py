"""A broker for tests of groups: sessions may be short."""

from pathlib import Path

from tests.processes import Part, broker

SESSION_TIMEOUT_MS = 2_000


def group_broker(directory: Path) -> Part:
    """Not started yet."""
    return broker(directory, group_min_session_timeout_ms=SESSION_TIMEOUT_MS)


def address(part: Part) -> str:
    return f"127.0.0.1:{part.ports['kafka']}"

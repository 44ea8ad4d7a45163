"""Records of our envelope, read back."""

import io
from typing import Any

import fastavro

from headrace.schemas.envelope import ENVELOPE

_ENVELOPE = fastavro.parse_schema(dict(ENVELOPE))


def event_of(value: bytes, *, header_bytes: int = 5) -> dict[str, Any]:
    """The event that a record's value is, behind its header (schemas/framing.py)."""
    event: Any = fastavro.schemaless_reader(io.BytesIO(value[header_bytes:]), _ENVELOPE, None)
    return dict(event)

"""Reads records of ours as people see them."""

from io import BytesIO
from typing import Any, cast

import fastavro

from headrace.schemas.envelope import ENVELOPE
from headrace.schemas.framing import HEADER_LENGTH

_ENVELOPE = fastavro.parse_schema(dict(ENVELOPE))


def decoded(value: bytes) -> dict[str, Any]:
    """The event in a record's value."""
    return cast("dict[str, Any]", fastavro.schemaless_reader(BytesIO(value[HEADER_LENGTH:]), _ENVELOPE, None))

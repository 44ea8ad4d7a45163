"""The wire format of a registered value: a zero byte, the schema's id as 4 bytes big-endian, the payload.

Source: Confluent Schema Registry, wire format. Pure; knows nothing of registries or Avro.
"""

from typing import Final
from uuid import UUID

MAGIC: Final = 0
MAGIC_GUID: Final = 1
"""Before the 16 bytes of a schema's GUID, in the header `__value_schema_id` or `__key_schema_id` of a record."""
HEADER_LENGTH: Final = 5
GUID_HEADER_LENGTH: Final = 17
MAX_ID: Final = 2**31 - 1


def header(schema_id: int) -> bytes:
    """The five bytes before every payload of one schema (an id is 1 … 2³¹-1); compute it once per schema."""
    return bytes((MAGIC,)) + schema_id.to_bytes(4, "big")


def frame(schema_id: int, payload: bytes) -> bytes:
    """Put the header before a payload."""
    return header(schema_id) + payload


def parse(value: bytes) -> tuple[int | UUID, bytes] | None:
    """Split a value into schema (an id, or a GUID after 0x01) and payload; None where it does not have the format."""
    if len(value) >= HEADER_LENGTH and value[0] == MAGIC:
        return int.from_bytes(value[1:HEADER_LENGTH], "big"), value[HEADER_LENGTH:]
    if len(value) >= GUID_HEADER_LENGTH and value[0] == MAGIC_GUID:
        return UUID(bytes=value[1:GUID_HEADER_LENGTH]), value[GUID_HEADER_LENGTH:]
    return None

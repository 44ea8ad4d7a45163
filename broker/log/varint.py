"""Zig-zag varints, as they stand in records. Source: KIP-98; Kafka's ByteUtils."""

from headrace.errors import CorruptError

_MAX_SHIFT = 63


def varint(value: int) -> bytes:
    """An integer of up to 64 bits, signed."""
    number = (value << 1) ^ (value >> 63)
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def read_varint(data: bytes, position: int) -> tuple[int, int]:
    """The integer at `position`, and the position after it.

    Raises:
        CorruptError: it is cut off, or longer than 64 bits need.
    """
    value = shift = 0
    while True:
        if position >= len(data) or shift > _MAX_SHIFT:
            raise CorruptError("a varint in a record is cut off or too long")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), position
        shift += 7

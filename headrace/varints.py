"""Variable-length integers, as Avro and Kafka write them: seven bits a byte, the lowest first, the last byte below 128.

Source: Avro 1.12 specification, Binary Encoding; KIP-98 and KIP-482 (Kafka's records and compact lengths).
"""

from headrace.errors import CorruptError

_MAX_SHIFT = 63


def unsigned(number: int) -> bytes:
    """A number that is not negative."""
    if number < 0x80:  # nearly always
        return bytes((number,))
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def zigzag(number: int) -> bytes:
    """An integer of up to 64 bits, signed: an int or long of Avro's, a varint or varlong of Kafka's records."""
    return unsigned(number << 1 ^ number >> 63)


def read_zigzag(data: bytes, position: int) -> tuple[int, int]:
    """The signed integer at `position`, and the position after it.

    Raises:
        CorruptError: it is cut off, or longer than 64 bits need.
    """
    value = shift = 0
    while True:
        if position >= len(data) or shift > _MAX_SHIFT:
            raise CorruptError("a varint is cut off or too long")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), position
        shift += 7

"""Variable-length integers, as Avro and Kafka write them: seven bits a byte, the lowest first, the last byte below 128.

Source: Avro 1.12 specification, Binary Encoding; KIP-98 and KIP-482 (Kafka's records and compact lengths).
"""


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

"""Kafka's primitive types in bytes that are no request: records of internal topics, with bounds.

`flexible` is the newer encoding (compact lengths, tagged fields, which are skipped). Source: KIP-482.
"""

import struct
from uuid import UUID


class Reader:
    """Kafka's primitive types, one after another; ValueError and struct.error where the bytes run out."""

    def __init__(self, data: bytes, *, flexible: bool = False) -> None:
        self._data, self._position = data, 0
        self.flexible = flexible

    def int8(self) -> int:
        return int(self._unpack(">b", 1))

    def int16(self) -> int:
        return int(self._unpack(">h", 2))

    def int32(self) -> int:
        return int(self._unpack(">i", 4))

    def int64(self) -> int:
        return int(self._unpack(">q", 8))

    def text(self) -> str:
        text = self.nullable_text()
        if text is None:
            raise ValueError("null where a string must be")
        return text

    def nullable_text(self) -> str | None:
        length = self.unsigned_varint() - 1 if self.flexible else self.int16()
        return None if length < 0 else self._take(length).decode()

    def data(self) -> bytes:
        return self._take(self.unsigned_varint() - 1 if self.flexible else self.int32())

    def uuid(self) -> UUID:
        return UUID(bytes=self._take(16))

    def array_length(self) -> int:
        length = self.unsigned_varint() - 1 if self.flexible else self.int32()
        if not 0 <= length <= len(self._data):
            raise ValueError(f"an array of {length} in {len(self._data)} bytes")
        return length

    def skip_tagged_fields(self) -> None:
        if self.flexible:
            for _ in range(self.unsigned_varint()):
                self.unsigned_varint()
                self._take(self.unsigned_varint())

    def _unpack(self, layout: str, size: int) -> int:
        (value,) = struct.unpack_from(layout, self._data, self._position)
        self._position += size
        return int(value)

    def _take(self, length: int) -> bytes:
        end = self._position + length
        if length < 0 or end > len(self._data):
            raise ValueError(f"{length} bytes at {self._position} of {len(self._data)}")
        taken = self._data[self._position : end]
        self._position = end
        return taken

    def unsigned_varint(self) -> int:
        value = 0
        for shift in range(0, 35, 7):
            byte = self._take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise ValueError("a varint of more than 32 bits")

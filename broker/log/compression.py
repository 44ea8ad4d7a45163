"""The codecs of a record batch, with a bound on what a small batch may inflate to.

Snappy comes in two shapes: raw (librdkafka) and in the framing of snappy-java, which the Java client and kafka-python write:
magic, two i32 versions, then chunks of an i32 length and raw snappy. Source: xerial snappy-java, SnappyOutputStream.
"""

import struct
from collections.abc import Callable
from typing import Any

import cramjam

from headrace.errors import CorruptError

NONE, GZIP, SNAPPY, LZ4, ZSTD = range(5)
MAX_INFLATED_SIZE = 1 << 27

_XERIAL_MAGIC = b"\x82SNAPPY\x00"
_XERIAL_HEADER = _XERIAL_MAGIC + struct.pack(">ii", 1, 1)
_XERIAL_CHUNK = 32 * 1024
_LENGTH = struct.Struct(">i")
_NO_ROOM = "write whole buffer"  # how the library says that the target is too small; anything else is bad bytes
_INTO: dict[int, Callable[..., int]] = {
    GZIP: cramjam.gzip.decompress_into,
    LZ4: cramjam.lz4.decompress_into,
    ZSTD: cramjam.zstd.decompress_into,
}


def decompress(codec: int, data: bytes | memoryview, *, limit: int = MAX_INFLATED_SIZE) -> memoryview:
    """Inflate the records of a batch.

    Raises:
        CorruptError: not what the codec writes, more than `limit` bytes, or an unknown codec.
    """
    if codec == NONE:
        return memoryview(data)
    if codec == SNAPPY:
        return _snappy(bytes(data), limit)
    if codec not in _INTO:
        raise CorruptError(f"compression codec {codec} is unknown")
    source, room = bytes(data), min(limit, max(1 << 16, 8 * len(data)))
    while True:
        target = bytearray(room)
        try:
            return memoryview(target)[: _INTO[codec](source, target)]
        except cramjam.DecompressionError as error:
            if room >= limit or _NO_ROOM not in str(error):
                raise CorruptError(f"records cannot be decompressed within {limit} bytes: {error}") from error
            room = min(limit, room * 8)


def _snappy(data: bytes, limit: int) -> memoryview:
    if not data.startswith(_XERIAL_MAGIC):
        return memoryview(_raw_snappy(data, limit))
    chunks, position, total = [], len(_XERIAL_HEADER), 0
    while position < len(data):
        if position + 4 > len(data):
            raise CorruptError("a snappy chunk is cut off")
        (size,) = _LENGTH.unpack_from(data, position)
        position += 4
        if not 0 <= size <= len(data) - position:
            raise CorruptError(f"a snappy chunk of {size} bytes is cut off")
        chunks.append(_raw_snappy(data[position : position + size], limit - total))
        total += len(chunks[-1])
        position += size
    return memoryview(b"".join(chunks))


def _raw_snappy(data: bytes, limit: int) -> bytes:
    try:
        size = cramjam.snappy.decompress_raw_len(data)
        if size > limit:
            raise CorruptError(f"records inflate to more than {limit} bytes")
        return bytes(cramjam.snappy.decompress_raw(data))
    except cramjam.DecompressionError as error:
        raise CorruptError(f"records are not snappy: {error}") from error


def compress(codec: int, data: bytes) -> bytes:
    """Deflate the records of a batch that this broker, or a test, builds; snappy in snappy-java's framing."""
    if codec == NONE:
        return data
    if codec == SNAPPY:
        pieces = [data[at : at + _XERIAL_CHUNK] for at in range(0, len(data), _XERIAL_CHUNK)]
        packed = [bytes(cramjam.snappy.compress_raw(piece)) for piece in pieces]
        return _XERIAL_HEADER + b"".join(_LENGTH.pack(len(piece)) + piece for piece in packed)
    if codec == LZ4:
        compressor = cramjam.lz4.Compressor(block_linked=False)  # Kafka reads frames of independent blocks only
        compressor.compress(data)
        return bytes(compressor.finish())
    library: Any = {GZIP: cramjam.gzip, ZSTD: cramjam.zstd}[codec]
    return bytes(library.compress(data))

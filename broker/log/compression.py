"""The codecs of a record batch, with a bound on what a small batch may inflate to.

Snappy comes in two shapes: raw (librdkafka) and in the framing of snappy-java, which the Java client and kafka-python write:
magic, two i32 versions, then chunks of an i32 length and raw snappy. Source: xerial snappy-java, SnappyOutputStream.
"""

import struct
from collections.abc import Callable

import cramjam
import lz4.block

from headrace.errors import CorruptError

NONE, GZIP, SNAPPY, LZ4, ZSTD = range(5)
MAX_INFLATED_SIZE = 1 << 27

_XERIAL_MAGIC = b"\x82SNAPPY\x00"
_XERIAL_HEADER = _XERIAL_MAGIC + struct.pack(">ii", 1, 1)
_XERIAL_CHUNK = 32 * 1024
_LENGTH = struct.Struct(">i")
_NO_ROOM = "write whole buffer"  # how the library says that the target is too small; anything else is bad bytes
_GZIP_LEVEL, _LZ4_LEVEL, _ZSTD_LEVEL = 6, 9, 3  # lz4: 9 is Kafka's default and means its fast mode, any other the slow one
_LZ4_HEADER = bytes.fromhex("04224d18 60 40 82")  # independent blocks of 64 KiB, no checksums but its own
_LZ4_BLOCK = 64 * 1024
_LZ4_SIZE = struct.Struct("<I")
_LZ4_WHOLE = 1 << 31  # a block that does not shrink is stored as it is
_LZ4_END = bytes(4)
_INTO: dict[int, Callable[..., int]] = {
    GZIP: cramjam.gzip.decompress_into,
    LZ4: cramjam.lz4.decompress_into,
    ZSTD: cramjam.zstd.decompress_into,
}


class TooLargeError(CorruptError):
    """Records inflate to more than the caller will hold."""


def decompress(codec: int, data: bytes | memoryview, *, limit: int = MAX_INFLATED_SIZE) -> memoryview:
    """Inflate the records of a batch.

    Raises:
        TooLargeError: more than `limit` bytes.
        CorruptError: not what the codec writes, or an unknown codec.
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
            if _NO_ROOM not in str(error):
                raise CorruptError(f"records cannot be decompressed: {error}") from error
            if room >= limit:
                raise TooLargeError(f"records inflate to more than {limit} bytes") from error
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
            raise TooLargeError(f"records inflate to more than {limit} bytes")
        return bytes(cramjam.snappy.decompress_raw(data))
    except cramjam.DecompressionError as error:
        raise CorruptError(f"records are not snappy: {error}") from error


def compress(codec: int, data: bytes | memoryview, level: int | None = None) -> bytes:
    """Deflate the records of a batch; snappy in snappy-java's framing, lz4 in frames of independent blocks.

    Args:
        level: gzip 1-9, lz4 1-17, zstd up to 22; None is Kafka's default (KIP-390). The others have none.
    """
    if codec == NONE:
        return bytes(data)
    if codec == SNAPPY:
        pieces = [data[at : at + _XERIAL_CHUNK] for at in range(0, len(data), _XERIAL_CHUNK)]
        packed = [bytes(cramjam.snappy.compress_raw(piece)) for piece in pieces]
        return _XERIAL_HEADER + b"".join(_LENGTH.pack(len(piece)) + piece for piece in packed)
    if codec == LZ4:
        return _lz4(data, level)
    if codec == GZIP:
        return bytes(cramjam.gzip.compress(data, _GZIP_LEVEL if level is None else level))
    return bytes(cramjam.zstd.compress(data, _ZSTD_LEVEL if level is None else level))


def _lz4(data: bytes | memoryview, level: int | None) -> bytes:
    """A frame, block by block: Kafka reads independent blocks only, and cramjam makes such frames holding the GIL."""
    effort = {} if level in (None, _LZ4_LEVEL) else {"mode": "high_compression", "compression": level}
    out: list[bytes | memoryview] = [_LZ4_HEADER]
    for at in range(0, len(data), _LZ4_BLOCK):
        piece = data[at : at + _LZ4_BLOCK]
        packed = lz4.block.compress(piece, store_size=False, **effort)
        if len(packed) < len(piece):
            out += [_LZ4_SIZE.pack(len(packed)), packed]
        else:
            out += [_LZ4_SIZE.pack(len(piece) | _LZ4_WHOLE), piece]
    return b"".join([*out, _LZ4_END])

"""Request and response headers.

Request header v1: key i16, version i16, correlation id i32, client id (nullable string, i16 length); v2 adds tagged fields and
keeps the old string. Response header v0: correlation id; v1 adds tagged fields. ApiVersions is answered with v0 always, because
its caller cannot yet know what we speak (KIP-511). v0 request headers belong to ControlledShutdown alone, which is not served.
"""

import struct
from typing import NamedTuple

from headrace.errors import PeerError

_FIXED = struct.Struct(">hhih")
_CORRELATION_ID = struct.Struct(">i")


class MalformedRequestError(PeerError):
    """A request's bytes are not what its key and version say."""


class RequestHeader(NamedTuple):
    """Who asks for what. `body_position` is where the body begins, once the flexible part (v2) has been skipped."""

    api_key: int
    api_version: int
    correlation_id: int
    client_id: str | None
    body_position: int


def parse_header(frame: bytes | memoryview) -> RequestHeader:
    """Read the part that v1 and v2 share; a flexible request then needs `skip_tagged_fields`.

    Raises:
        MalformedRequestError: shorter than a header, or a client id that is not UTF-8 text.
    """
    if len(frame) < _FIXED.size:
        raise MalformedRequestError(f"a request of {len(frame)} bytes is shorter than its header")
    api_key, api_version, correlation_id, length = _FIXED.unpack_from(frame)
    end = _FIXED.size + max(length, 0)
    if length < -1 or end > len(frame):
        raise MalformedRequestError(f"a client id of {length} bytes in a request of {len(frame)}")
    try:
        client_id = str(frame[_FIXED.size : end], "utf-8") if length >= 0 else None
    except UnicodeDecodeError as error:
        raise MalformedRequestError("the client id is not UTF-8") from error
    return RequestHeader(api_key, api_version, correlation_id, client_id, end)


def skip_tagged_fields(frame: bytes | memoryview, position: int) -> int:
    """The position after the tagged fields at `position` (KIP-482); we know none in headers.

    Raises:
        MalformedRequestError: they run past the frame.
    """
    count, position = unsigned_varint(frame, position)
    for _ in range(count):
        _, position = unsigned_varint(frame, position)
        length, position = unsigned_varint(frame, position)
        position += length
        if position > len(frame):
            raise MalformedRequestError("tagged fields run past the request")
    return position


def unsigned_varint(frame: bytes | memoryview, position: int) -> tuple[int, int]:
    """(value, position after it); seven bits a byte, least significant first.

    Raises:
        MalformedRequestError: it runs past the frame, or past 32 bits.
    """
    value = 0
    for shift in range(0, 35, 7):
        if position >= len(frame):
            break
        byte = frame[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise MalformedRequestError("a varint runs past the request or past 32 bits")


def response_header(correlation_id: int, *, flexible: bool) -> bytes:
    """Response header v0, or v1 (an empty set of tagged fields) where the answer is flexible."""
    header = _CORRELATION_ID.pack(correlation_id)
    return header + b"\0" if flexible else header

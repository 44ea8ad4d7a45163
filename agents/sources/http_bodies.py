"""Bodies of requests: content codings undone (RFC 9110 §8.4, RFC 9659), never to more bytes than allowed. Pure."""

import sys
import zlib
from collections.abc import Callable
from typing import Any, Final, Protocol

from headrace.agents.sources.http_refusals import RequestError
from headrace.agents.sources.scratch import Data

CODINGS: Final = "gzip, deflate, zstd"
_WINDOW_LOG_MOST: Final = 23  # 8 MiB: what RFC 9659 allows a sender


class _Decoder(Protocol):
    eof: bool
    unused_data: bytes

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def decoded(body: Data, coding: str, most_bytes: int) -> Data:
    """A body as it was before `coding`, the Content-Encoding.

    Raises:
        RequestError: 415 for another coding, 413 for more than `most_bytes`, 400 for bytes that are not of it.
    """
    if coding in ("", "identity"):
        return body
    make = _DECODERS.get(coding)
    if make is None:
        raise RequestError(415, f"Content-Encoding: {CODINGS} or none", {"Accept-Encoding": CODINGS})
    parts: list[bytes] = []
    left = most_bytes
    rest = bytes(body[:])
    while rest:  # gzip members and zstd frames may follow one another
        decoder = make(rest)
        try:
            part = decoder.decompress(rest, left + 1)
        except Exception as error:
            if not isinstance(error, _errors()):
                raise
            raise RequestError(400, f"the body is not {coding}: {error}") from error
        left -= len(part)
        if left < 0:
            raise RequestError(413, f"the body is more than {most_bytes} bytes; send less at a time")
        if not decoder.eof:
            raise RequestError(400, f"the body is not {coding}: it ends too early")
        parts.append(part)
        rest = decoder.unused_data
    return b"".join(parts)


def _gzip(_: bytes) -> _Decoder:
    return zlib.decompressobj(zlib.MAX_WBITS | 16)  # type: ignore[return-value]  # eof is a property there


def _deflate(body: bytes) -> _Decoder:
    """zlib's format as the RFC says, or without its header as some send it."""
    wrapped = len(body) > 1 and body[0] & 15 == 8 and int.from_bytes(body[:2], "big") % 31 == 0
    return zlib.decompressobj(zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS)  # type: ignore[return-value]


def _zstd(_: bytes) -> _Decoder:
    zstd = _zstd_module()
    decoder: _Decoder = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG_MOST})
    return decoder


def _zstd_module() -> Any:
    """Imported when the first such body comes: most agents never need it."""
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd


def _errors() -> tuple[type[Exception], ...]:
    return zlib.error, _zstd_module().ZstdError


_DECODERS: dict[str, Callable[[bytes], _Decoder]] = {"gzip": _gzip, "x-gzip": _gzip, "deflate": _deflate, "zstd": _zstd}

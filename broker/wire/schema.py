"""Which message a key and version have, decoded by kio and encoded by `encode`; loaded when first used.

A handler is written once per API. To that end a request of an older (or newer) version has, as class attributes, the fields
that only the other end of the served range has, with the defaults that Kafka's schemas give them: reading `request.rack_id`
works in every version. (Kafka's own generated classes do the same.) Durations arrive as `timedelta`: `milliseconds(value)`.
Loading all versions of twenty APIs would cost 0.55 s and 49 MB, so each is loaded when a client first uses it.
"""

import dataclasses
import datetime
import struct
from collections.abc import Generator, Mapping
from functools import cache
from typing import Any

from kio.index import load_request_schema, load_response_schema
from kio.serial import entity_reader
from kio.serial.errors import SerialError

from headrace.broker.wire.claims import claims_check
from headrace.broker.wire.encode import Stepper, entity_stepper, entity_writer, inner_type
from headrace.broker.wire.header import MalformedRequestError, response_header, skip_tagged_fields
from headrace.broker.wire.large_produce import LARGE_BYTES, PRODUCE, decode_large

_API_VERSIONS = 18
_ZERO = {
    "bool": False,
    "string": "",
    "bytes": b"",
    "timedelta_i32": datetime.timedelta(),
    "timedelta_i64": datetime.timedelta(),
}


class RequestCodec:
    """Decodes the requests and encodes the answers of one API in one version."""

    __slots__ = (
        "_check_claims",
        "_flexible_request",
        "_flexible_response",
        "_read",
        "_response",
        "_step",
        "_write",
        "is_produce",
    )

    def __init__(self, api_key: int, version: int, served: tuple[int, int]) -> None:
        """`served` is the lowest and the highest version that the handler serves."""
        request = load_request_schema(api_key, version)
        for other in served:
            _complete(request, load_request_schema(api_key, other))
        response = load_response_schema(api_key, version)
        self._flexible_request: bool = request.__flexible__
        self._flexible_response: bool = response.__flexible__ and api_key != _API_VERSIONS
        self.is_produce = api_key == PRODUCE
        self._read = entity_reader(request)
        self._check_claims = claims_check(request)
        self._write = entity_writer(response)
        self._response = response
        self._step: Stepper | None = None  # made when first needed

    @property
    def flexible(self) -> bool:
        """Whether answers are in the flexible encoding (compact lengths, tagged fields)."""
        return self._flexible_response

    def decode(self, frame: bytes | memoryview, body_position: int) -> Any:
        """The request's body as an object; its header, up to the client id, ends at `body_position`.

        Raises:
            MalformedRequestError: the bytes are not such a request. Bytes after it are ignored, as Kafka does.
        """
        return self._read_body(*self._checked(frame, body_position))

    def decode_in_steps(self, frame: bytes | memoryview, body_position: int) -> Generator[None, None, Any]:
        """The same, and others may have a turn in between."""
        checked, body_position = self._checked(frame, body_position)
        yield
        return self._read_body(checked, body_position)

    def _checked(self, frame: bytes | memoryview, body_position: int) -> tuple[bytes | memoryview, int]:
        """What kio may read, and where its body begins."""
        if self._flexible_request:
            body_position = skip_tagged_fields(frame, body_position)
        if self._check_claims is not None:
            frame = self._check_claims(frame, body_position)
        return frame, body_position

    def _read_body(self, frame: bytes | memoryview, body_position: int) -> Any:
        try:
            if self.is_produce and len(frame) >= LARGE_BYTES:
                return decode_large(frame, body_position, flexible=self._flexible_request)
            request, _ = self._read(frame, body_position)
        except (SerialError, ValueError, OverflowError, LookupError, struct.error) as error:
            raise MalformedRequestError(f"{type(error).__name__}: {error}") from error
        return request

    def encode(self, correlation_id: int, response: Mapping[str, Any]) -> bytes:
        """Header and body of an answer, without the frame's size."""
        out = bytearray(self.header(correlation_id))
        self._write(out, response)
        return bytes(out)

    def encode_in_steps(self, correlation_id: int, response: Mapping[str, Any]) -> Generator[None, None, bytes]:
        """The same, and others may have a turn in between."""
        out = bytearray(self.header(correlation_id))
        if self._step is None:
            self._step = entity_stepper(self._response)
        yield from self._step(out, response)
        return bytes(out)

    def header(self, correlation_id: int) -> bytes:
        """The header alone, for answers whose body is packed by hand or cached."""
        return response_header(correlation_id, flexible=self._flexible_response)

    def encode_body(self, response: Mapping[str, Any]) -> bytes:
        """The body alone, for caching."""
        out = bytearray()
        self._write(out, response)
        return bytes(out)


@cache
def request_codec(api_key: int, version: int, served: tuple[int, int]) -> RequestCodec:
    """The codec of one API in one version, made when first asked for (about 10 ms)."""
    return RequestCodec(api_key, version, served)


def milliseconds(duration: datetime.timedelta) -> int:
    """A decoded duration in ms (kio turns wire integers into timedelta)."""
    return duration.days * 86_400_000 + duration.seconds * 1000 + duration.microseconds // 1000


def _complete(entity: Any, other: Any) -> None:
    """Give `entity` a class attribute for each field that only `other` has, and so on below."""
    mine = {field.name: field for field in dataclasses.fields(entity)}
    for field in dataclasses.fields(other):
        if field.name not in mine:
            if not hasattr(entity, field.name):
                setattr(entity, field.name, _absent_value(field))
            continue
        below, other_below = inner_type(mine[field.name].type), inner_type(field.type)
        if below is not other_below and dataclasses.is_dataclass(below) and dataclasses.is_dataclass(other_below):
            _complete(below, other_below)


def _absent_value(field: Any) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    text = str(field.type)
    if "tuple[" in text:
        return ()
    if "None" in text:
        return None
    return _ZERO.get(field.metadata.get("kafka_type"), 0)

"""Headers are read exactly, and anything shorter or longer than it says is an error."""

import struct

import pytest

from headrace.broker.wire.header import MalformedRequestError, RequestHeader, parse_header, response_header, skip_tagged_fields


def test_header_with_client_id_says_where_the_body_begins() -> None:
    frame = struct.pack(">hhih", 3, 12, 77, 2) + "é".encode() + b"body"
    assert parse_header(frame) == RequestHeader(3, 12, 77, "é", 12)


def test_null_client_id_is_none() -> None:
    assert parse_header(struct.pack(">hhih", 3, 1, 77, -1)).client_id is None


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\0" * 9,
        struct.pack(">hhih", 3, 1, 77, 5) + b"four",
        struct.pack(">hhih", 3, 1, 77, -2),
        struct.pack(">hhih", 3, 1, 77, 2) + b"\xff\xfe",
    ],
)
def test_damaged_header_is_an_error(frame: bytes) -> None:
    with pytest.raises(MalformedRequestError):
        parse_header(frame)


def test_tagged_fields_are_skipped() -> None:
    fields = b"\x02" + b"\x00\x03abc" + b"\x85\x01\x80\x01" + bytes(128)
    assert skip_tagged_fields(b"ab" + fields + b"rest", 2) == 2 + len(fields)


@pytest.mark.parametrize("fields", [b"", b"\x01", b"\x01\x00\x05abcd", b"\xff\xff\xff\xff\xff\x01"])
def test_tagged_fields_that_run_past_the_request_are_an_error(fields: bytes) -> None:
    with pytest.raises(MalformedRequestError):
        skip_tagged_fields(fields, 0)


def test_response_header_has_tagged_fields_where_flexible() -> None:
    assert response_header(258, flexible=False) == b"\0\0\x01\x02"
    assert response_header(258, flexible=True) == b"\0\0\x01\x02\0"

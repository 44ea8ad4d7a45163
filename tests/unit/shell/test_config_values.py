"""Values that several parts' files hold."""

import pytest

from headrace.addresses import Address, is_loopback


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9600", Address("127.0.0.1", 9600)),
        ("broker-7.example:65535", Address("broker-7.example", 65_535)),
        ("[::1]:9600", Address("::1", 9600)),
    ],
)
def test_an_address_is_read_and_written_alike(text: str, address: Address) -> None:
    assert Address.parse(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text", ["localhost", ":9600", "127.0.0.1:", "::1:9600", "h:65536", "h:-1", "h:٣", "[]:1", "[::1:1", 9600, None]
)
def test_what_is_no_address_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="port"):
        Address.parse(text)


def test_loopback_is_told_from_what_others_reach() -> None:
    assert all(is_loopback(host) for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "::", "192.168.1.7", "example.org"))

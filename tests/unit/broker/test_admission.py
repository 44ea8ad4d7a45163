"""How many connections there may be."""

import pytest

from headrace.broker.config import BrokerConfig
from headrace.broker.keys.network import parse_overrides
from headrace.broker.network.admission import Admission, CloseReason


def test_one_more_than_max_connections_is_refused_until_one_has_left() -> None:
    admission = Admission(2, 100, {})
    assert [admission.enter(ip) for ip in ("10.0.0.1", "10.0.0.2", "10.0.0.3")] == [None, None, CloseReason.TOO_MANY]
    admission.leave("10.0.0.1")
    assert admission.enter("10.0.0.3") is None


def test_an_address_has_its_own_bound_and_an_override_replaces_it() -> None:
    admission = Admission(100, 1, {"10.0.0.7": 2, "10.0.0.8": 0})
    assert admission.enter("10.0.0.1") is None
    assert admission.enter("10.0.0.1") is CloseReason.TOO_MANY_OF_IP
    assert [admission.enter("10.0.0.7") for _ in range(3)] == [None, None, CloseReason.TOO_MANY_OF_IP]
    assert admission.enter("10.0.0.8") is CloseReason.TOO_MANY_OF_IP
    admission.leave("10.0.0.1")
    assert admission.enter("10.0.0.1") is None


def test_overrides_are_written_as_kafka_writes_them() -> None:
    assert parse_overrides("127.0.0.1:200, [0:0::1]:3") == {"127.0.0.1": 200, "::1": 3}


@pytest.mark.parametrize("text", ["127.0.0.1", "localhost:3", "127.0.0.1:-1", ":3"])
def test_an_override_that_is_not_an_address_and_a_count_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"address:count|does not appear to be"):
        BrokerConfig.model_validate({"log.dirs": "d", "max.connections.per.ip.overrides": text})


def test_handshakes_take_places_from_handshakes_only() -> None:
    admission = Admission(3, 2, {})
    assert admission.begin_handshake("10.0.0.1") is None
    assert admission.begin_handshake("10.0.0.1") is None
    assert admission.begin_handshake("10.0.0.1") is CloseReason.TOO_MANY_OF_IP
    assert admission.enter("10.0.0.1") is None, "its handshake is done, the other two are not"
    admission.end_handshake("10.0.0.1")
    assert admission.begin_handshake("10.0.0.1") is CloseReason.TOO_MANY_OF_IP
    assert admission.begin_handshake("10.0.0.2") is None
    assert admission.begin_handshake("10.0.0.3") is CloseReason.TOO_MANY
    admission.end_handshake("10.0.0.1")
    admission.end_handshake("10.0.0.2")
    admission.leave("10.0.0.1")
    assert [admission.begin_handshake(ip) for ip in ("10.0.0.1", "10.0.0.1", "10.0.0.2")] == [None] * 3

"""Which quotas may be set, which of them binds a client, and which are found when asked for."""

import math

import pytest

from headrace.broker.quotas.book import FilterPart, Limit, QuotaBook
from headrace.broker.quotas.entities import (
    CLIENT_ID,
    CONNECTION_CREATION_RATE,
    CONSUMER_BYTE_RATE,
    IP,
    PRODUCER_BYTE_RATE,
    REQUEST_PERCENTAGE,
    USER,
    Entity,
    decode,
    encode_key,
    encode_quotas,
    entity_of,
    value_fault,
)
from headrace.errors import CorruptError, VersionError


def entity(**parts: str | None) -> Entity:
    """`user`, `client_id`, `ip`."""
    return frozenset((kind.replace("_", "-"), name) for kind, name in parts.items())


# KIP-55: most specific first. Each is set with a bound of its own, and must win over all that follow.
PRECEDENCE = [
    (entity(user="alice", client_id="app"), ("alice", "app")),
    (entity(user="alice", client_id=None), ("alice", "app")),
    (entity(user="alice"), ("alice", "")),
    (entity(user=None, client_id="app"), ("alice", "app")),
    (entity(user=None, client_id=None), ("alice", "app")),
    (entity(user=None), ("alice", "")),
    (entity(client_id="app"), ("", "app")),
    (entity(client_id=None), ("", "app")),
]


@pytest.mark.parametrize("first", range(len(PRECEDENCE)))
def test_the_most_specific_quota_binds(first: int) -> None:
    book = QuotaBook()
    for number, (each, _) in list(enumerate(PRECEDENCE))[first:]:
        book.replace(each, {PRODUCER_BYTE_RATE: 100.0 + number})
    assert book.limit(PRODUCER_BYTE_RATE, "alice", "app") == Limit(PRECEDENCE[first][1], 100.0 + first)


def test_quotas_of_others_do_not_bind() -> None:
    book = QuotaBook()
    book.replace(entity(user="bob", client_id="app"), {PRODUCER_BYTE_RATE: 5})
    book.replace(entity(client_id="other"), {PRODUCER_BYTE_RATE: 5})
    book.replace(entity(ip=None), {CONNECTION_CREATION_RATE: 5})
    assert book.limit(PRODUCER_BYTE_RATE, "alice", "app") is None


def test_a_more_specific_entity_without_that_key_does_not_hide_the_quota() -> None:
    book = QuotaBook()
    book.replace(entity(user="alice", client_id="app"), {CONSUMER_BYTE_RATE: 7})
    book.replace(entity(user="alice"), {PRODUCER_BYTE_RATE: 9})
    assert book.limit(PRODUCER_BYTE_RATE, "alice", "app") == Limit(("alice", ""), 9)


def test_a_client_without_an_id_is_bound_by_its_user_alone() -> None:
    book = QuotaBook()
    book.replace(entity(client_id=None), {PRODUCER_BYTE_RATE: 5})
    assert book.limit(PRODUCER_BYTE_RATE, "alice", "") is None
    book.replace(entity(user=None), {PRODUCER_BYTE_RATE: 6})
    assert book.limit(PRODUCER_BYTE_RATE, "alice", "") == Limit(("alice", ""), 6)


def test_a_change_binds_at_once_and_what_is_taken_away_no_more() -> None:
    book = QuotaBook()
    book.replace(entity(client_id="app"), {PRODUCER_BYTE_RATE: 5})
    assert book.limit(PRODUCER_BYTE_RATE, "alice", "app") == Limit(("", "app"), 5)
    book.replace(entity(client_id="app"), {PRODUCER_BYTE_RATE: 8})
    assert book.limit(PRODUCER_BYTE_RATE, "alice", "app") == Limit(("", "app"), 8)
    book.replace(entity(client_id="app"), {})
    assert book.limit(PRODUCER_BYTE_RATE, "alice", "app") is None
    assert not book.has(PRODUCER_BYTE_RATE)


def test_an_address_has_its_own_quota_or_the_default_one() -> None:
    book = QuotaBook()
    book.replace(entity(ip="192.0.2.7"), {CONNECTION_CREATION_RATE: 3})
    assert book.ip_limit(CONNECTION_CREATION_RATE, "192.0.2.8") is None
    book.replace(entity(ip=None), {CONNECTION_CREATION_RATE: 11})
    assert book.ip_limit(CONNECTION_CREATION_RATE, "192.0.2.7") == Limit((IP, "192.0.2.7"), 3)
    assert book.ip_limit(CONNECTION_CREATION_RATE, "192.0.2.8") == Limit((IP, "192.0.2.8"), 11)


FOUND = {
    "alice": entity(user="alice"),
    "default user": entity(user=None),
    "alice app": entity(user="alice", client_id="app"),
    "alice default": entity(user="alice", client_id=None),
    "app": entity(client_id="app"),
    "address": entity(ip="192.0.2.7"),
}


@pytest.mark.parametrize(
    ("parts", "strict", "expected"),
    [
        ([], False, set(FOUND)),
        ([], True, set()),
        ([FilterPart(USER, "exact", "alice")], False, {"alice", "alice app", "alice default"}),
        ([FilterPart(USER, "exact", "alice")], True, {"alice"}),
        ([FilterPart(USER, "default")], False, {"default user"}),
        ([FilterPart(USER, "any")], True, {"alice", "default user"}),
        ([FilterPart(USER, "any"), FilterPart(CLIENT_ID, "default")], False, {"alice default"}),
        ([FilterPart(USER, "any"), FilterPart(CLIENT_ID, "any")], True, {"alice app", "alice default"}),
        ([FilterPart(CLIENT_ID, "any")], False, {"alice app", "alice default", "app"}),
        ([FilterPart(CLIENT_ID, "any")], True, {"app"}),
        ([FilterPart(IP, "any")], True, {"address"}),
        ([FilterPart(IP, "exact", "192.0.2.8")], False, set()),
    ],
)
def test_a_filter_finds_what_fits_every_part_and_strictly_no_other_types(
    parts: list[FilterPart], strict: bool, expected: set[str]
) -> None:
    book = QuotaBook()
    for each in FOUND.values():
        book.replace(each, {PRODUCER_BYTE_RATE: 5})
    found = {found for found, _ in book.matching(parts, strict=strict)}
    assert found == {FOUND[name] for name in expected}


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([], "empty"),
        ([("user", "a"), ("user", "b")], "twice"),
        ([("group", "g")], "Unhandled"),
        ([("user", "")], "Empty user"),
        ([("ip", "192.0.2.7"), ("user", "a")], "IP"),
        ([("ip", "not-an-address")], "valid IP"),
    ],
)
def test_an_entity_that_cannot_be_is_refused(parts: list[tuple[str, str | None]], said: str) -> None:
    refused = entity_of(parts)
    assert isinstance(refused, str)
    assert said in refused


def test_an_address_is_written_in_one_way() -> None:
    assert entity_of([("ip", "2001:0db8:0::0001")]) == entity(ip="2001:db8::1")


@pytest.mark.parametrize(
    ("of", "key", "value"),
    [
        (entity(user="a"), "speed", 5),
        (entity(user="a"), CONNECTION_CREATION_RATE, 5),
        (entity(ip=None), PRODUCER_BYTE_RATE, 5),
        (entity(user="a"), PRODUCER_BYTE_RATE, 0),
        (entity(user="a"), PRODUCER_BYTE_RATE, -3),
        (entity(user="a"), PRODUCER_BYTE_RATE, 2.5),
        (entity(user="a"), PRODUCER_BYTE_RATE, math.nan),
        (entity(user="a"), REQUEST_PERCENTAGE, math.inf),
        (entity(ip=None), CONNECTION_CREATION_RATE, 1 << 31),
        (entity(user="a"), "controller_mutation_rate", 5),
    ],
)
def test_a_quota_that_cannot_be_is_refused(of: Entity, key: str, value: float) -> None:
    assert value_fault(of, key, value) is not None


def test_what_is_stored_is_read_back() -> None:
    of, quotas = entity(user='al"ice', client_id=None), {PRODUCER_BYTE_RATE: 1024.0, REQUEST_PERCENTAGE: 12.5}
    assert decode(encode_key(of), encode_quotas(quotas)) == (of, quotas)
    book = QuotaBook()
    book.load({encode_key(of): encode_quotas(quotas)})
    assert book.of(of) == quotas


def test_what_the_first_version_stored_is_read() -> None:
    text = '{"version": 1, "quotas": {"producer_byte_rate": 1024.0}}'
    assert decode('[["client-id", null], ["user", "alice"]]', text) == (
        entity(user="alice", client_id=None),
        {PRODUCER_BYTE_RATE: 1024.0},
    )


def test_what_a_newer_version_stored_is_refused_and_damage_is_named() -> None:
    with pytest.raises(VersionError):
        decode('[["user", "alice"]]', '{"version": 2, "quotas": {}}')
    for key, text in (("x", "{}"), ('[["user", "a"]]', "[]"), ('[["user", "a"]]', '{"version": 1, "quotas": 3}')):
        with pytest.raises(CorruptError):
            decode(key, text)

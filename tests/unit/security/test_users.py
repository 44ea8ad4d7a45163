"""Users in the store: Kafka's rules for changes, and what is told of users that do not exist."""

import pytest

from headrace.broker.coordination.changes import made_here
from headrace.broker.security.scram import SCRAM_SHA_256, SCRAM_SHA_512, is_password, salt_password
from headrace.broker.security.users import Deletion, Upsertion, Users
from headrace.broker.wire import ErrorCode
from headrace.errors import CorruptError, VersionError
from tests.memory_store import MemoryStore


def upsertion(name: str, password: bytes = b"secret", *, mechanism: int = 1, iterations: int = 4096) -> Upsertion:
    by_number = {1: SCRAM_SHA_256, 2: SCRAM_SHA_512}.get(mechanism, SCRAM_SHA_256)
    return Upsertion(name, mechanism, iterations, b"salt", salt_password(by_number, password, b"salt", iterations))


def test_a_user_is_kept_and_its_password_is_not() -> None:
    store = MemoryStore()
    assert made_here(Users(store).alter([], [upsertion("alice"), upsertion("bob", mechanism=2, iterations=8192)])) == {
        "alice": None,
        "bob": None,
    }
    users = Users(store)
    assert list(users.names) == ["alice", "bob"]
    assert is_password(SCRAM_SHA_256, users.claimed("alice", SCRAM_SHA_256), b"secret")
    assert not is_password(SCRAM_SHA_256, users.claimed("alice", SCRAM_SHA_256), b"wrong")
    mechanism, claimed = users.claimed_by_password("bob")
    assert (mechanism, claimed.known) == (SCRAM_SHA_512, True)
    assert "secret" not in str(store.entries("user"))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (upsertion(""), ErrorCode.unacceptable_credential),
        (upsertion("x", iterations=4095), ErrorCode.unacceptable_credential),
        (upsertion("x", iterations=16385), ErrorCode.unacceptable_credential),
        (upsertion("x", mechanism=3), ErrorCode.unsupported_sasl_mechanism),
        (Upsertion("x", 1, 4096, b"", b"p" * 32), ErrorCode.unacceptable_credential),
        (Upsertion("x", 1, 4096, b"salt", b"p" * 31), ErrorCode.unacceptable_credential),
    ],
)
def test_a_change_that_cannot_be_is_refused_and_the_others_are_made(change: Upsertion, error: int) -> None:
    users = Users(MemoryStore())
    outcome = made_here(users.alter([], [change, upsertion("good")]))
    assert outcome[change.name] is not None
    assert outcome[change.name][0] == error  # type: ignore[index]  # not None, see above
    assert list(users.names) == ["good"]


def test_a_user_named_twice_is_changed_not_at_all() -> None:
    users = Users(MemoryStore())
    outcome = made_here(users.alter([], [upsertion("x"), upsertion("x", mechanism=2)]))
    assert outcome["x"] is not None
    assert outcome["x"][0] == ErrorCode.duplicate_resource
    assert len(users) == 0


def test_a_user_goes_with_its_last_credential() -> None:
    store = MemoryStore()
    users = Users(store)
    made_here(users.alter([], [upsertion("x")]))
    made_here(users.alter([], [upsertion("x", mechanism=2)]))
    assert made_here(users.alter([Deletion("x", 1)], [])) == {"x": None}
    assert list(users.credentials("x")) == ["SCRAM-SHA-512"]
    missing = made_here(users.alter([Deletion("x", 1)], []))["x"]
    assert missing is not None
    assert missing[0] == ErrorCode.resource_not_found
    made_here(users.alter([Deletion("x", 2)], []))
    assert len(Users(store)) == 0


def test_a_name_that_nobody_has_looks_like_a_user_at_every_try_and_after_a_restart() -> None:
    store = MemoryStore()
    users = Users(store)
    made_here(users.alter([], [upsertion("alice", iterations=8192)]))
    first = users.claimed("nobody", SCRAM_SHA_256)
    assert (first.known, first.credential.iterations) == (False, 8192)
    assert users.claimed("nobody", SCRAM_SHA_256) == first == Users(store).claimed("nobody", SCRAM_SHA_256)
    assert users.claimed("other", SCRAM_SHA_256).credential.salt != first.credential.salt
    assert Users(MemoryStore()).claimed("nobody", SCRAM_SHA_256).credential.salt != first.credential.salt


@pytest.mark.parametrize(("text", "error"), [('{"version": 2}', VersionError), ("{}", CorruptError), ("no", CorruptError)])
def test_what_cannot_be_read_is_not_guessed_at(text: str, error: type[Exception]) -> None:
    store = MemoryStore()
    store.change_entries("user", {"alice": text})
    with pytest.raises(error):
        Users(store)


@pytest.mark.parametrize("salt", [bytes(range(200, 264 - 8)) + bytes(8), b"1dbq9cy3r6hsk0ahpj7iv2xm4z", b"\x07salt" * 4])
def test_the_salt_of_a_name_that_nobody_has_looks_like_those_of_users(salt: bytes) -> None:
    """librdkafka's, Apache Kafka's, another client's."""
    users = Users(MemoryStore())
    for name in ("alice", "bob"):
        made_here(users.alter([], [Upsertion(name, 1, 4096, salt, b"p" * 32)]))
    made_here(users.alter([], [Upsertion("carol", 1, 8192, b"an own one", b"p" * 32)]))
    made_up = users.claimed("nobody", SCRAM_SHA_256).credential
    assert len(made_up.salt) == len(salt)
    assert made_up.salt.isalnum() == salt.isalnum()
    assert made_up.salt != salt
    assert made_up.iterations == 4096

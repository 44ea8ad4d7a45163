"""Users: who may log in, by SCRAM credentials kept in the coordination store (kind `user`, one entry a user).

An entry is JSON: `{"version": 1, "credentials": {"SCRAM-SHA-256": {"salt", "stored_key", "server_key", "iterations"}}}`, bytes
in base64. What is stored cannot be turned back into a password but by guessing.

A name that nobody has is answered with a made-up credential (`claimed`): its salt is the same at every try and after every
restart, and looks as most salts do, so that nobody learns from a login which names exist. Clients choose salts: librdkafka
64 random bytes, Apache Kafka's tools some 26 digits and small letters. The secret it is made from is in the store (`decoy`).
"""

import base64
import hashlib
import hmac
import json
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from headrace.broker.coordination.changes import Change, made_here
from headrace.broker.coordination.store import CoordinationStore
from headrace.broker.security.scram import (
    MAX_ITERATIONS,
    MIN_ITERATIONS,
    SCRAM_MECHANISMS,
    SCRAM_SHA_256,
    SCRAM_SHA_512,
    Claimed,
    ScramCredential,
    ScramMechanism,
    credential_of,
    salt_password,
)
from headrace.broker.wire import ErrorCode
from headrace.errors import CorruptError, UsageError, VersionError

_USERS, _DECOY, _KEY = "user", "decoy", "secret"
_VERSION = 1
_SALT_BYTES = 20
_MOST_SALT_BYTES = 1024  # of one that is made up
_SALT_TEXT = b"0123456789abcdefghijklmnopqrstuvwxyz"  # of what Kafka's tools draw (ScramFormatter.secureRandomString)
_BY_NUMBER = {mechanism.number: mechanism for mechanism in SCRAM_MECHANISMS.values()}
Credentials = Mapping[str, ScramCredential]  # by the mechanism's name
Fault = tuple[int, str]


@dataclass(frozen=True, slots=True)
class Deletion:
    """Of a user's credential for one mechanism (Kafka's number)."""

    name: str
    mechanism: int


@dataclass(frozen=True, slots=True)
class Upsertion:
    """A new credential of a user for one mechanism, as a client salted it."""

    name: str
    mechanism: int
    iterations: int
    salt: bytes = field(repr=False)
    salted_password: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Look:
    """What a client sees of a credential before it has proved anything, but for the salt's own bytes."""

    iterations: int
    salt_bytes: int
    is_text: bool


class Users:
    """All users; the loop owns it."""

    def __init__(self, store: CoordinationStore) -> None:
        """
        Raises:
            VersionError, CorruptError: an entry that this version cannot read.
            StorageError: the store fails.
        """
        self._store = store
        self._users = {name: _read(name, text) for name, text in store.entries(_USERS).items()}
        decoy = store.entries(_DECOY).get(_KEY)
        if decoy is None:
            decoy = secrets.token_hex(32)
            store.change_entries(_DECOY, {_KEY: decoy})
        self._decoy = bytes.fromhex(decoy)

    def __len__(self) -> int:
        return len(self._users)

    @property
    def names(self) -> Sequence[str]:
        return sorted(self._users)

    def credentials(self, name: str) -> Credentials:
        """Of a user; empty if there is none of that name."""
        return self._users.get(name, {})

    def claimed(self, name: str, mechanism: ScramMechanism) -> Claimed:
        """What a login with that name and mechanism is compared with."""
        credential = self.credentials(name).get(mechanism.name)
        return Claimed(self._made_up(name, mechanism), known=False) if credential is None else Claimed(credential, known=True)

    def claimed_by_password(self, name: str) -> tuple[ScramMechanism, Claimed]:
        """The same where the client tells its password: any credential will do, the cheapest to check first."""
        for mechanism in (SCRAM_SHA_256, SCRAM_SHA_512):
            if mechanism.name in self.credentials(name):
                return mechanism, self.claimed(name, mechanism)
        usual = Counter(min(credentials) for credentials in self._users.values() if credentials).most_common(1)
        mechanism = SCRAM_MECHANISMS[usual[0][0]] if usual else SCRAM_SHA_256
        return mechanism, self.claimed(name, mechanism)

    def alter(self, deletions: Sequence[Deletion], upsertions: Sequence[Upsertion]) -> Change[dict[str, Fault | None]]:
        """Change credentials, durably: all that have no fault; what came of each user named (Kafka's ScramControlManager).

        Raises:
            StorageError: the store fails; nothing has changed.
        """
        changes: list[Deletion | Upsertion] = [*deletions, *upsertions]
        counts = Counter([change.name for change in changes])
        outcome: dict[str, Fault | None] = {}
        changed: dict[str, dict[str, ScramCredential]] = {}
        for change in changes:
            name = change.name
            fault = self._fault(change)
            if counts[name] > 1:
                fault = (ErrorCode.duplicate_resource, "A user credential cannot be altered twice in the same request")
            outcome[name] = fault
            if fault is not None:
                continue
            mechanism, credentials = _BY_NUMBER[change.mechanism], dict(self.credentials(name))
            if isinstance(change, Deletion):
                del credentials[mechanism.name]
            else:
                credentials[mechanism.name] = credential_of(mechanism, change.salted_password, change.salt, change.iterations)
            changed[name] = credentials
        entries = {name: _text(new) if new else None for name, new in changed.items()}
        if entries:
            yield partial(self._store.change_entries, _USERS, entries)
        for name, new in changed.items():
            if new:
                self._users[name] = new
            else:
                del self._users[name]
        return outcome

    def _fault(self, change: Deletion | Upsertion) -> Fault | None:
        mechanism = _BY_NUMBER.get(change.mechanism)
        if not change.name:
            return ErrorCode.unacceptable_credential, "Username must not be empty"
        if mechanism is None:
            return ErrorCode.unsupported_sasl_mechanism, "Unknown SCRAM mechanism"
        if isinstance(change, Deletion):
            if mechanism.name not in self.credentials(change.name):
                return ErrorCode.resource_not_found, "Attempt to delete a user credential that does not exist"
            return None
        if change.iterations < MIN_ITERATIONS:
            return ErrorCode.unacceptable_credential, "Too few iterations"
        if change.iterations > MAX_ITERATIONS:
            return ErrorCode.unacceptable_credential, "Too many iterations"
        if not change.salt or len(change.salted_password) != mechanism.size_bytes:  # beyond Kafka: nobody could log in
            return ErrorCode.unacceptable_credential, "The salt is empty, or the salted password has the wrong size"
        return None

    def _made_up(self, name: str, mechanism: ScramMechanism) -> ScramCredential:
        """As credentials of that mechanism usually look; the keys fit to no password that anybody could find."""
        usual = Counter(_look(each[mechanism.name]) for each in self._users.values() if mechanism.name in each).most_common(1)
        look = usual[0][0] if usual else _Look(MIN_ITERATIONS, _SALT_BYTES, is_text=False)

        def draw(what: str, size_bytes: int) -> bytes:
            seed = hmac.digest(self._decoy, f"{mechanism.name} {what} {name}".encode(), "sha512")
            return hashlib.shake_256(seed).digest(size_bytes)

        salt = draw("salt", look.salt_bytes)
        if look.is_text:
            salt = bytes(_SALT_TEXT[byte % len(_SALT_TEXT)] for byte in salt)
        size_bytes = mechanism.size_bytes
        return ScramCredential(salt, draw("stored", size_bytes), draw("server", size_bytes), look.iterations)


def _look(credential: ScramCredential) -> "_Look":
    salt = credential.salt
    return _Look(credential.iterations, min(len(salt), _MOST_SALT_BYTES), is_text=all(byte in _SALT_TEXT for byte in salt))


def put_user(users: Users, name: str, password: bytes, mechanisms: Sequence[str], iterations: int) -> None:
    """Give a user this password, with a new salt a mechanism.

    Raises:
        UsageError: the name or the iterations are refused.
    """
    for mechanism in mechanisms:
        scram, salt = SCRAM_MECHANISMS[mechanism], secrets.token_bytes(_SALT_BYTES)
        salted = salt_password(scram, password, salt, iterations)
        _check(made_here(users.alter([], [Upsertion(name, scram.number, iterations, salt, salted)])))


def delete_user(users: Users, name: str, mechanisms: Sequence[str]) -> None:
    """Take these credentials from a user.

    Raises:
        UsageError: it does not have them.
    """
    for mechanism in mechanisms:
        _check(made_here(users.alter([Deletion(name, SCRAM_MECHANISMS[mechanism].number)], [])))


def _check(outcome: Mapping[str, Fault | None]) -> None:
    for name, fault in outcome.items():
        if fault is not None:
            raise UsageError(f"user {name}: {fault[1]}")


def _text(credentials: Credentials) -> str:
    return json.dumps(
        {
            "version": _VERSION,
            "credentials": {
                name: {
                    "salt": base64.b64encode(credential.salt).decode(),
                    "stored_key": base64.b64encode(credential.stored_key).decode(),
                    "server_key": base64.b64encode(credential.server_key).decode(),
                    "iterations": credential.iterations,
                }
                for name, credential in sorted(credentials.items())
            },
        }
    )


def _read(name: str, text: str) -> dict[str, ScramCredential]:
    try:
        stored = json.loads(text)
        if stored["version"] > _VERSION:
            raise VersionError(f"user {name} was written by a newer headrace (version {stored['version']}); start that one")
        return {
            mechanism: ScramCredential(
                base64.b64decode(each["salt"]),
                base64.b64decode(each["stored_key"]),
                base64.b64decode(each["server_key"]),
                int(each["iterations"]),
            )
            for mechanism, each in stored["credentials"].items()
        }
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise CorruptError(f"user {name} in the coordination store cannot be read") from error

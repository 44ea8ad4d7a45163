"""The quotas that are set, and which of them binds a client. Pure.

The most specific binds, in Kafka's order: user and client, user and default client, user, default user and client, default
user and default client, default user, client, default client. A user's quota is shared by all of the user's clients; one of a
client id, or of a pair, is each client's own. Sources: KIP-55; Kafka's ClientQuotaManager, ClientQuotaCache.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from headrace.broker.quotas.entities import CLIENT_ID, IP, USER, Entity, Quotas, decode

Match = Literal["exact", "default", "any"]
_MAX_RESOLVED = 10_000


@dataclass(frozen=True, slots=True)
class Limit:
    """What binds a client: `bound` units a second, shared by all whose `owner` is the same."""

    owner: tuple[str, str]
    bound: float


@dataclass(frozen=True, slots=True)
class FilterPart:
    """One part of what is asked for; `name` counts where the match is exact."""

    kind: str
    match: Match
    name: str | None = None


class QuotaBook:
    """All quotas of a broker."""

    def __init__(self) -> None:
        self._quotas: dict[Entity, dict[str, float]] = {}
        self._keys: set[str] = set()
        self._resolved: dict[tuple[str, str, str], Limit | None] = {}

    def load(self, entries: Mapping[str, str]) -> None:
        """Learn what is stored.

        Raises:
            VersionError, CorruptError: as `decode`.
        """
        for key, text in entries.items():
            entity, quotas = decode(key, text)
            self.replace(entity, quotas)

    def of(self, entity: Entity) -> Quotas:
        """The entity's own quotas."""
        return self._quotas.get(entity, {})

    def replace(self, entity: Entity, quotas: Quotas) -> None:
        """Set the entity's own quotas, and no others; at once."""
        if quotas:
            self._quotas[entity] = dict(quotas)
        else:
            self._quotas.pop(entity, None)
        self._keys = {key for each in self._quotas.values() for key in each}
        self._resolved.clear()

    @property
    def are_set(self) -> bool:
        """Whether there are any quotas at all."""
        return bool(self._keys)

    def has(self, key: str) -> bool:
        """Whether anybody has a quota of that kind."""
        return key in self._keys

    def limit(self, key: str, user: str, client_id: str) -> Limit | None:
        """What binds a client; None if nothing does."""
        if key not in self._keys:
            return None
        asked = (key, user, client_id)
        if asked not in self._resolved:
            if len(self._resolved) >= _MAX_RESOLVED:  # client ids without end
                self._resolved.clear()
            self._resolved[asked] = self._resolve(key, user, client_id)
        return self._resolved[asked]

    def ip_limit(self, key: str, address: str) -> Limit | None:
        """What binds an address."""
        for name in (address, None):
            bound = self.of(frozenset({(IP, name)})).get(key)
            if bound is not None:
                return Limit((IP, address), bound)
        return None

    def _resolve(self, key: str, user: str, client_id: str) -> Limit | None:
        for owner, parts in _candidates(user, client_id):
            bound = self.of(frozenset(parts)).get(key)
            if bound is not None:
                return Limit(owner, bound)
        return None

    def matching(self, parts: Sequence[FilterPart], *, strict: bool) -> Iterator[tuple[Entity, Quotas]]:
        """The entities that fit every part; strictly, those only that have no other types. No parts fit all, strictly none."""
        for entity, quotas in sorted(self._quotas.items(), key=lambda item: sorted(map(repr, item[0]))):
            named = dict(entity)
            fits = all(part.kind in named and _fits(part, named[part.kind]) for part in parts)
            if fits and not (strict and len(named) != len(parts)):
                yield entity, quotas


def _fits(part: FilterPart, name: str | None) -> bool:
    if part.match == "any":
        return True
    return name == (part.name if part.match == "exact" else None)


def _candidates(user: str, client_id: str) -> Iterator[tuple[tuple[str, str], tuple[tuple[str, str | None], ...]]]:
    """Who would share a quota, and the entity it would be set for; the first that is set binds. A client may have no id."""
    for user_name in (user, None):
        if client_id:
            yield (user, client_id), ((USER, user_name), (CLIENT_ID, client_id))
            yield (user, client_id), ((USER, user_name), (CLIENT_ID, None))
        yield (user, ""), ((USER, user_name),)
    if client_id:
        yield ("", client_id), ((CLIENT_ID, client_id),)
        yield ("", client_id), ((CLIENT_ID, None),)

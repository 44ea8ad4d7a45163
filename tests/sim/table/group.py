"""A consumer group as its members' clients show it: what it gives and takes, who hears of it when, and who never does.

Cooperative, as the loader asks for, a partition is taken from its holder alone, and given on when he has answered; eager,
everything is taken from everybody first. Either way a member that is not heard for a session, or is expelled for another
reason, is not asked: its partitions go to others, and it believes in them until it hears that they are lost, if it ever does.
"""

import random
from collections import deque
from dataclasses import dataclass, field

SESSION_MS = 10_000
TOPIC = "topic"
PARTITIONS = (0, 1)


@dataclass(frozen=True)
class Assigned:
    """Given in addition; a member's first is told even if it is empty."""

    partitions: frozenset[int]


@dataclass(frozen=True)
class Revoked:
    """To be taken when it is answered; `is_lost`: taken already."""

    partitions: frozenset[int]
    is_lost: bool = False


@dataclass
class Member:
    """One, as long as its process lives; `given` is what it has in the group's eyes, `believes` what it has been told."""

    heard_ms: int
    is_in: bool = True
    is_dead: bool = False
    is_greeted: bool = False
    given: frozenset[int] = frozenset()
    believes: frozenset[int] = frozenset()
    told: deque[Assigned | Revoked] = field(default_factory=deque)
    deaf_until_ms: int = 0

    @property
    def is_quiet(self) -> bool:
        """Whether it has answered all that it was told."""
        return not self.told


@dataclass
class Group:
    """All members, by number."""

    rng: random.Random
    is_eager: bool = False
    members: dict[int, Member] = field(default_factory=dict)
    wanted: dict[int, int] = field(default_factory=dict)
    """Who is to have each partition."""
    is_revoking: bool = False
    joined: int = 0

    def join(self, now_ms: int) -> int:
        self.joined += 1
        self.members[self.joined] = Member(now_ms)
        self.rebalance()
        return self.joined

    def die(self, number: int) -> None:
        """Its process is gone: the group does not know it before the session is over."""
        member = self.members[number]
        member.is_dead = True
        if not member.is_in:
            del self.members[number]

    def leave(self, number: int) -> None:
        """It says so, and has handed over."""
        self.members.pop(number, None)
        self.rebalance()

    def is_deserted(self, number: int) -> bool:
        """Whether all other members are dead."""
        return all(other.is_dead for key, other in self.members.items() if key != number)

    def rebalance(self) -> None:
        """Share anew; as evenly as it can be done, and otherwise at random."""
        inside = [number for number, member in self.members.items() if member.is_in]
        self.rng.shuffle(inside)
        self.wanted = {partition: inside[partition % len(inside)] for partition in PARTITIONS if inside}
        self.is_revoking = self.is_eager

    def expel(self, number: int) -> None:
        """Take everything from a member without asking it."""
        member = self.members[number]
        member.is_in, member.given = False, frozenset()
        member.told = deque([Revoked(member.believes, is_lost=True)])
        if member.is_dead:
            del self.members[number]
        self.rebalance()

    def step(self, now_ms: int, awake: set[int]) -> None:
        """Expel those who have been silent, hear the others, and give and take."""
        for number, member in list(self.members.items()):
            if member.is_in and now_ms - member.heard_ms > SESSION_MS:
                self.expel(number)
            if number in awake:
                member.heard_ms = now_ms
        inside = {number: member for number, member in self.members.items() if member.is_in}
        taken = self._taken(inside)
        for number, member in inside.items():
            if member.is_quiet and (away := taken.get(number)):
                member.told.append(Revoked(away))
        self.is_revoking = self.is_revoking and any(member.given for member in inside.values())
        if not self.is_revoking:
            self._give(inside)

    def _taken(self, inside: dict[int, Member]) -> dict[int, frozenset[int]]:
        if self.is_revoking:
            return {number: member.given for number, member in inside.items()}
        return {
            number: frozenset(one for one in member.given if self.wanted[one] != number) for number, member in inside.items()
        }

    def _give(self, inside: dict[int, Member]) -> None:
        had = {partition for member in inside.values() for partition in member.given}
        for number, member in inside.items():
            free = frozenset(one for one, to in self.wanted.items() if to == number and one not in had)
            if member.is_quiet and (free or not member.is_greeted):
                member.given |= free
                member.told.append(Assigned(free))
                member.is_greeted = True

    # What a member's client does.

    def hear(self, number: int, now_ms: int) -> Assigned | Revoked | None:
        """What it is told now, to be answered."""
        member = self.members[number]
        return member.told[0] if member.told and now_ms >= member.deaf_until_ms else None

    def answer(self, number: int, event: Assigned | Revoked) -> None:
        """It has done what it was told. An answer to what has been overtaken by an expulsion is to nobody."""
        member = self.members[number]
        member.believes = (
            member.believes | event.partitions if isinstance(event, Assigned) else member.believes - event.partitions
        )
        if not member.told or member.told[0] is not event:
            if member.told and not member.is_in:  # what is lost has become more, or less
                member.told[0] = Revoked(member.believes, is_lost=True)
            return
        member.told.popleft()
        if isinstance(event, Revoked) and not event.is_lost:
            member.given -= event.partitions
        elif isinstance(event, Revoked):
            member.is_in, member.is_greeted = True, False
            self.rebalance()

    @property
    def is_settled(self) -> bool:
        """Whether everybody has what is meant for him, and knows it."""
        return all(
            member.is_in
            and member.is_quiet
            and member.believes == member.given == frozenset(one for one, to in self.wanted.items() if to == number)
            for number, member in self.members.items()
            if not member.is_dead
        ) and not any(member.is_dead for member in self.members.values())

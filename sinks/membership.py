"""The loaders of one root share partitions as the members of a consumer group; it says who reads what, and nothing else.

What has landed, and how far, is in the table log alone, and the log alone fences: a member that has been expelled and does not
know it yet loses its puts, not the group's blessing. So this client reads no records, fetches and commits no offsets, and may
be wrong for a while. It answers every rebalance with "nothing more to read": partitions are read by another client.

A loader that finds nobody in the group begins with everything, and lets go of what the group then gives to others: it would
wait seconds for an empty group, and the session timeout for a member that has been killed.
"""

import contextlib
import hashlib
import logging
import os
import socket
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, TopicPartition

from headrace.librdkafka import close_consumer
from headrace.sinks.claims import Answer, Claims, HandOver, Reaction
from headrace.sinks.stores.roots import scheme_of
from headrace.sinks.topics import Where, client_keys

logger = logging.getLogger(__name__)

PREFIX: Final = "headrace-load"
SESSION_TIMEOUT_MS: Final = 10_000
"""How long a killed loader's partitions wait for the others."""
HEARTBEAT_MS: Final = 1000
"""Also how long members may take to hear of a rebalance."""
METADATA_MS: Final = 5000
"""How long until the group hears of new partitions."""
_REFUSED: Final = (
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.INVALID_GROUP_ID,
    KafkaError.INVALID_SESSION_TIMEOUT,
    KafkaError.INCONSISTENT_GROUP_PROTOCOL,
)
_TRANSIENT: Final = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN)


def group_of(root: str) -> str:
    """The group of those who load one root, however they write it; different roots never share one.

    A group that two roots shared would land half of the partitions in each.
    """
    if scheme_of(root) == "file":
        place = str(Path(root.removeprefix("file://")).absolute())
    else:
        place = root.partition("?")[0].rstrip("/")
    return f"{PREFIX}-{hashlib.sha256(place.encode()).hexdigest()[:8]}"


class Membership:
    """One member. What it is told, it is told within `poll`."""

    def __init__(
        self,
        kafka: Mapping[str, Any],
        group: str,
        *,
        members: Callable[[str], list[str] | None],
        hand_over: Callable[[Collection[Where]], None],
    ) -> None:
        """
        Args:
            members: the client ids of a group's members; None if they cannot be known.
            hand_over: called when `claims` have changed, with what is new, and before others may have what is no longer held.
        """
        self.group, self._members, self._hand_over = group, members, hand_over
        self._topics: frozenset[str] = frozenset()
        self.claims = Claims()
        self._consumer = Consumer(
            {
                "session.timeout.ms": SESSION_TIMEOUT_MS,
                "heartbeat.interval.ms": HEARTBEAT_MS,
                "topic.metadata.refresh.interval.ms": METADATA_MS,
                "client.id": _client_id(os.getpid()),
                **client_keys(kafka),
                "group.id": group,
                "group.protocol": "classic",
                "partition.assignment.strategy": "cooperative-sticky",
                "enable.auto.commit": False,
            }
        )

    def want(self, topics: Collection[str]) -> None:
        """Share these topics; told again whenever they may have changed."""
        names = frozenset(topics)
        if not names or names == self._topics:
            return
        if not self._topics:
            members = self._members(self.group)
            self.claims.has_all = members is not None and all(_is_dead(member) for member in members)
            logger.info("joining", extra={"group": self.group, "members": members})
        self._topics = names
        self._consumer.subscribe(sorted(names), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost)

    def poll(self) -> None:
        """Hear of rebalances; a member that does not for `max.poll.interval.ms` is expelled."""
        message = self._consumer.poll(0)
        error = message.error() if message is not None else None
        if error is None or error.code() in _TRANSIENT:
            return
        if error.code() in _REFUSED and not self.claims.has_all:
            self.claims.has_all = True
            logger.error(
                "group %s: %s; all partitions are read, beside other loaders, until it lets us in (rights: READ; load.group)",
                *(self.group, error.str()),
            )
        elif not self.claims.has_all:
            logger.warning("group %s: %s", self.group, error.str())

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        reaction = self.claims.on_assign(_places(partitions))
        logger.info("sharing", extra={"group": self.group, "partitions": len(self.claims), "new": len(partitions)})
        self._carry_out(reaction, consumer.incremental_assign)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._carry_out(self.claims.on_revoke(_places(partitions)), consumer.incremental_unassign)

    def _carry_out(self, reaction: Reaction, answer: Callable[[list[TopicPartition]], None]) -> None:
        for step in reaction:
            match step:
                case HandOver(new):
                    self._hand_over(new)
                case Answer():
                    answer([])

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        logger.warning("expelled from the group, which has not heard from this loader in time", extra={"group": self.group})
        self._on_revoke(consumer, partitions)

    def leave(self) -> None:
        """Leave the group at once, within a bounded time; what was read is committed or dropped before."""
        self._hand_over = lambda new: None  # noqa: ARG005 - closing revokes everything, on another thread
        close_consumer(self._consumer)


def _places(partitions: Collection[TopicPartition]) -> set[Where]:
    return {(partition.topic, partition.partition) for partition in partitions}


def _client_id(pid: int | str) -> str:
    boot = ""
    with contextlib.suppress(OSError):  # only Linux tells; elsewhere nobody is taken for dead
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().split("-", 1)[0]
    return f"{PREFIX}.{pid}@{socket.gethostname()}.{boot}"


def _is_dead(client_id: str) -> bool:
    """Whether a member is a loader that has died on this machine since it was started."""
    pid = client_id.removeprefix(f"{PREFIX}.").partition("@")[0]
    is_of_here = client_id == _client_id(pid) and pid.isdecimal() and Path("/proc/self").exists()
    return is_of_here and not Path(f"/proc/{pid}").exists()

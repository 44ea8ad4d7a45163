"""Which offsets of a topic are read, as of when a pipeline is built: what is asked for, and what there is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import environ
from typing import Any, Final

from headrace.errors import ConfigError, UsageError
from headrace.librdkafka import checked_keys
from headrace.secret_references import References
from headrace.sinks.topics import Topics

INITIAL_SPLIT: Final = 250_000
"""Offsets that one worker is given at first; a runner may split them further."""


@dataclass(frozen=True, slots=True)
class OffsetSpan:
    """Offsets [start, end) of a partition."""

    partition: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Cluster:
    """How a cluster is reached: librdkafka's settings, in which secrets may be references, `${env:NAME}` and `${file:/path}`.

    A reference is replaced where the cluster is asked, by each worker; what is written out travels with the pipeline. Neither
    is shown.
    """

    settings: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"Cluster({self.settings.get('bootstrap.servers')})"

    def resolved(self) -> dict[str, Any]:
        """The settings with references replaced. Raises ConfigError: one leads nowhere, or no server is named."""
        if not self.settings.get("bootstrap.servers"):
            raise ConfigError("kafka: bootstrap.servers is missing; name brokers, as 127.0.0.1:9092")
        found: dict[str, Any] = References(environ).required(dict(self.settings), "kafka")
        return found


def cluster_of(kafka: str | Mapping[str, Any]) -> Cluster:
    """Where a cluster is: its bootstrap servers, or librdkafka's settings."""
    return Cluster({"bootstrap.servers": kafka} if isinstance(kafka, str) else dict(kafka))


def plan_topic(
    cluster: Cluster,
    topic: str,
    offsets: Mapping[int, tuple[int, int]] | None,
    times: tuple[int | None, int | None],
) -> tuple[list[OffsetSpan], str | None]:
    """The spans that are read, small enough for one worker each, and the topic's id, where the cluster gives one.

    Args:
        offsets: [start, end) by partition; None: what lies between two Kafka times, ms (None: all there is).
    Raises:
        UsageError: no such topic or partition, or offsets that are not there. PeerError: nobody answers.
    """
    with checked_keys():
        topics = Topics(cluster.resolved(), ())
    found = topics.find(topic).get(topic)
    if found is None:
        raise UsageError(f"topic {topic}: there is none at {cluster.settings['bootstrap.servers']}; create it, or name another")
    bounds = topics.bounds((topic, partition) for partition in found.partitions)
    there = {partition: bounds[topic, partition] for partition in found.partitions if (topic, partition) in bounds}
    if offsets is None:
        asked = _between(topics, topic, there, times)
        missing = [partition for partition in found.partitions if partition not in there]
    else:
        asked = dict(offsets)
        missing = [partition for partition in asked if partition not in there]
    if missing:
        raise UsageError(f"topic {topic}: partition {missing[0]} is not there, or has no leader; there are {sorted(there)}")
    for partition, (start, end) in asked.items():
        low, high = there[partition]
        if not low <= start <= end <= high:
            raise UsageError(
                f"topic {topic} partition {partition}: offsets {start} to {end} are asked for, and {low} to {high} are there;"
                " name offsets within these"
            )
    return [span for partition in sorted(asked) for span in _split(partition, *asked[partition])], found.topic_id


def _between(
    topics: Topics, topic: str, there: Mapping[int, tuple[int, int]], times: tuple[int | None, int | None]
) -> dict[int, tuple[int, int]]:
    """By partition, from the first record of that time or later to before the first of the other."""
    since_ms, until_ms = times
    where = [(topic, partition) for partition in there]
    first = {} if since_ms is None else topics.offsets_at(where, since_ms)
    last = {} if until_ms is None else topics.offsets_at(where, until_ms)
    found = {}
    for partition, (low, high) in there.items():
        start = low if since_ms is None else _or(first.get((topic, partition)), high)
        end = high if until_ms is None else _or(last.get((topic, partition)), high)
        found[partition] = (min(max(low, start), high), min(max(low, start, end), high))
    return found


def _or(offset: int | None, otherwise: int) -> int:
    return otherwise if offset is None else offset


def _split(partition: int, start: int, end: int) -> Sequence[OffsetSpan]:
    return [OffsetSpan(partition, at, min(at + INITIAL_SPLIT, end)) for at in range(start, end, INITIAL_SPLIT)]

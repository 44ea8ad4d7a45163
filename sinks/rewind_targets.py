"""Where a rewind goes back to: `--to` of `headrace load --rewind`, checked against what Kafka still has."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from headrace.errors import PeerError, UsageError
from headrace.sinks.fingerprint import fingerprint
from headrace.sinks.table.fold import Fold, PartitionEnd, PartitionKey
from headrace.sinks.times import parse_time
from headrace.sinks.topics import SpotReader, Topics, Where


@dataclass(frozen=True, slots=True)
class To:
    """Offsets by partition, or a Kafka time (ms), or, with neither, the beginning of what Kafka has."""

    offsets: Mapping[int, int] | None = None
    time_ms: int | None = None


def parse_to(text: str, now_ms: int) -> To:
    """`beginning`, `0:100,3:2500` (partition:offset), or a time: ISO 8601, or 36h for so long ago.

    Raises:
        UsageError: it is none of these.
    """
    if text == "beginning":
        return To()
    if re.fullmatch(r"\d{1,9}:\d{1,18}(,\d{1,9}:\d{1,18})*", text):
        pairs = [each.split(":") for each in text.split(",")]
        offsets = {int(partition): int(offset) for partition, offset in pairs}
        if len(offsets) < len(pairs):
            raise UsageError(f"--to {text}: a partition is named twice")
        return To(offsets=offsets)
    return To(time_ms=int(parse_time(text, "--to", now_ms)))


def find_targets(kafka: Mapping[str, Any], topic: str, fold: Fold, to: To) -> dict[PartitionKey, PartitionEnd]:
    """(incarnation, partition) → where landing goes on, for each partition that goes back at all.

    Raises:
        UsageError: the topic or a partition is not there, or Kafka no longer has what would be landed again.
        PeerError: Kafka does not answer.
    """
    topics = Topics(kafka, [re.escape(topic)])
    found = topics.find(topic).get(topic)
    if found is None:
        raise UsageError(f"topic {topic} is not in Kafka: what has landed of it cannot be landed again")
    landed = {partition: (fold.incarnation(partition), partition) for _, partition in fold.ends}
    ends = {partition: fold.ends[key] for partition, key in landed.items() if partition in found.partitions}
    bounds = {partition: bound for (_, partition), bound in topics.bounds((topic, partition) for partition in ends).items()}
    if missing := sorted(ends.keys() - bounds.keys()):
        raise PeerError(f"kafka: no answer about partition {missing[0]} of {topic}")
    for partition, end in list(ends.items()):
        if end.topic_id and found.topic_id and end.topic_id != found.topic_id:
            if bounds[partition][1]:
                raise UsageError(f"topic {topic} has been created again; land it first (headrace load --once), then rewind")
            del ends[partition]  # since then nothing has come: what has landed is of the topic before
    if unknown := sorted((to.offsets or {}).keys() - ends.keys()):
        raise UsageError(f"--to: partition {unknown[0]} of {topic} has not landed")
    where = [(topic, partition) for partition in sorted(ends)]
    starts = {partition: start for partition, (start, _) in bounds.items()}
    wanted = _wanted(topics, where, starts, ends, to)
    for partition, offset in sorted(wanted.items()):
        if offset < starts[partition]:
            raise UsageError(
                f"--to: partition {partition} of {topic} begins at {starts[partition]} in Kafka: {offset} would lose what has"
                f" landed before; go back to {partition}:{starts[partition]} or later, or to the beginning"
            )
    back = {partition: offset for partition, offset in wanted.items() if offset < ends[partition].offset}
    if not back:
        raise UsageError(f"--to: nothing of {topic} has landed from there on, so that there is nothing to land again")
    return _with_fingerprints(kafka, topic, back, starts, {landed[partition]: ends[partition] for partition in back})


def _wanted(
    topics: Topics, where: list[Where], starts: Mapping[int, int], ends: Mapping[int, PartitionEnd], to: To
) -> dict[int, int]:
    if to.offsets is not None:
        return dict(to.offsets)
    if to.time_ms is None:
        return {partition: starts[partition] for partition in ends}
    at = topics.offsets_at(where, to.time_ms)
    return {partition: ends[partition].offset if offset is None else offset for (_, partition), offset in at.items()}


def _with_fingerprints(
    kafka: Mapping[str, Any],
    topic: str,
    back: Mapping[int, int],
    starts: Mapping[int, int],
    ends: Mapping[PartitionKey, PartitionEnd],
) -> dict[PartitionKey, PartitionEnd]:
    """The targets as ends, with the record before each: it tells whether the topic is still the same, when landing goes on."""
    spot = SpotReader(kafka)
    try:
        before = {(topic, partition): offset - 1 for partition, offset in back.items() if offset > starts[partition]}
        records = spot.records_at(before)
        if silent := sorted(partition for _, partition in before.keys() - records):
            raise PeerError(f"kafka: topic {topic}: partitions {silent} do not answer")
    finally:
        spot.close()
    targets = {}
    for (incarnation, partition), end in ends.items():
        record = records.get((topic, partition))
        targets[incarnation, partition] = replace(
            end,
            offset=back[partition],
            last_offset=record.offset() if record else None,
            last_leader_epoch=record.leader_epoch() if record else None,
            last_timestamp_ms=record.timestamp()[1] if record else None,
            last_fingerprint=fingerprint(record) if record else None,
        )
    return targets

"""Where to go on reading a partition, given what has landed and what the log shows now. Pure.

Source: landing.md, rules "Topic created again" and "A gap's cause". Whatever makes the loader leave the ordinary course is said
in `alarm`; the caller acts on it only when two looks, some time apart, agree.
"""

from dataclasses import dataclass

from headrace.sinks.table.fold import Fold


@dataclass(frozen=True, slots=True)
class Sight:
    """What the broker shows of a partition: offsets [log_start, log_end) are there.

    `fingerprint` is that of the record at the last landed offset; None where it is absent, which proves nothing. `topic_id`
    is None where the broker gives none.
    """

    topic_id: str | None
    log_start: int
    log_end: int
    fingerprint: str | None


@dataclass(frozen=True, slots=True)
class Resume:
    """Read `incarnation` on from `offset`; what lies between the fold's end and `offset` is a gap with cause `gap`."""

    incarnation: int
    offset: int
    gap: str | None = None
    alarm: str | None = None


def resume(fold: Fold, partition: int, sight: Sight) -> Resume:
    """Decide for one partition."""
    incarnation = fold.incarnation(partition)
    known = fold.ends.get((incarnation, partition))
    if known is None:
        return _from_the_start(incarnation, sight, None)
    same_id = known.topic_id is not None and known.topic_id == sight.topic_id
    if known.topic_id and sight.topic_id and not same_id:
        return _from_the_start(incarnation + 1, sight, "the topic has been created again: it has another id")
    if known.last_fingerprint and sight.fingerprint and known.last_fingerprint != sight.fingerprint:
        what = "the log has diverged" if same_id else "the topic has been created again"
        return _from_the_start(incarnation + 1, sight, f"{what}: another record stands at offset {known.last_offset}")
    if sight.log_end < known.offset:
        what = "the log has been cut" if same_id else "the topic has been created again, or its log cut"
        why = f"{what}: it ends at {sight.log_end}, and had landed up to {known.offset}"
        return _from_the_start(incarnation + 1, sight, why)
    if sight.log_start > known.offset:
        why = f"retention overtook landing: offsets {known.offset} to {sight.log_start} are lost"
        return Resume(incarnation, sight.log_start, "lost", why)
    return Resume(incarnation, known.offset)


def _from_the_start(incarnation: int, sight: Sight, alarm: str | None) -> Resume:
    return Resume(incarnation, sight.log_start, "before" if sight.log_start else None, alarm)

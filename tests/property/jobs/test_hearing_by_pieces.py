"""`_audit`, heard as it lands, in files however they are cut and merged, is what it is when it is heard in one piece."""

import random
from dataclasses import replace

import pytest

from headrace.audit import AgentMessage, SentMessage, Total
from headrace.jobs.audit.announced import Announcement, fold
from headrace.jobs.audit.hearing import Hearing
from headrace.jobs.landed_rows import RawMessage
from headrace.sinks.table.fold import PartitionEnd
from headrace.sinks.table.reader import LiveFile, TableSnapshot
from headrace.sinks.table.record import OffsetRange
from tests.sim.harness import first_failing_seed, mutated, run_seeds

T0 = 1_763_900_400_000
NOTHING = TableSnapshot(
    "_audit",
    1,
    -1,
    None,
    None,
    None,
    (),
    {},
    audit={},
    settled={},
    expired_ms=None,
    streams={},
    lost=(),
    quarantined=(),
    slices={},
)


class Log:
    """Three agents that speak, each in a partition of two; some rows are no messages, and some offsets have none."""

    def __init__(self, source: random.Random) -> None:
        self.source = source
        self.rows: list[RawMessage] = []
        self.announcements: list[Announcement] = []
        self.ends = {0: (0, 0), 1: (0, 0)}
        self.files: list[list[RawMessage]] = []
        self.landed = 0

    def speak(self) -> None:
        agent = self.source.choice("abc")
        partition, count = ord(agent) % 2, self.source.randrange(1, 40)
        incarnation, offset = self.ends[partition]
        if self.source.random() < 0.02:
            incarnation, offset = incarnation + 1, 0
        at_ms = T0 + len(self.rows) * 7_000
        place = (incarnation, partition, offset)
        self.ends[partition] = (incarnation, offset + 1)
        if self.source.random() < 0.1:
            self.rows.append(RawMessage(place, at_ms, self.source.choice([None, b"x", b"agent/a/1"]), b"[]"))
            return
        message = self.source.choice(
            [
                SentMessage("logs", agent, "1", T0 + self.source.randrange(4) * 600_000, count, 0, count, {0: count}),
                AgentMessage(
                    agent, "1", "h", "1", "active", at_ms - 9_000, {"logs": {0: count}}, {"logs": Total(count, count)}
                ),
            ]
        )
        self.rows.append(RawMessage(place, at_ms, message.key.encode(), message.encode()))
        self.announcements.append(Announcement(at_ms, message))

    def land(self) -> None:
        """What was said since goes to one to three files, by chance, as if by hours."""
        new, self.landed = self.rows[self.landed :], len(self.rows)
        cut: list[list[RawMessage]] = [[] for _ in range(self.source.randrange(1, 4))]
        for row in new:
            self.source.choice(cut).append(row)
        self.files += [file for file in cut if file]

    def compact(self) -> None:
        if len(self.files) > 2:
            first = self.source.randrange(len(self.files) - 1)
            self.files[first : first + 2] = [self.files[first] + self.files[first + 1]]

    def table(self) -> TableSnapshot:
        files = tuple(_live(file) for file in self.files)
        ends = {}
        for row in self.rows[: self.landed]:
            ends[row.place[:2]] = PartitionEnd(row.place[2] + 1)
        return replace(NOTHING, files=files, ends=ends)


def _live(rows: list[RawMessage]) -> LiveFile:
    spans: dict[tuple[int, int], list[int]] = {}
    for row in rows:
        spans.setdefault(row.place[:2], []).append(row.place[2])
    ranges = tuple(OffsetRange(*place, min(offsets), max(offsets) + 1) for place, offsets in spans.items())
    name = "/".join(str(row.place) for row in rows)
    return LiveFile("", name, "parquet", len(rows), 0, 0, 0, "", "", ranges, "", "")


def heard_in_pieces(source: random.Random) -> None:
    log = Log(source)
    by_name: dict[str, list[RawMessage]] = {}

    def read(file: LiveFile) -> list[RawMessage]:
        return by_name[file.name]

    one = Hearing(read, lateness_ms=300_000, is_whole=True)
    for _ in range(source.randrange(1, 8)):
        for _ in range(source.randrange(30)):
            log.speak()
        log.land()
        if source.random() < 0.5:
            log.compact()
        by_name.update({_live(file).name: file for file in log.files})
        one.hear(log.table())
        assert one.agents == fold(log.announcements)
    again = Hearing(read, lateness_ms=300_000, is_whole=True)
    again.hear(log.table())
    assert again.agents == one.agents


def test_what_is_heard_in_pieces_is_what_was_said():
    run_seeds(heard_in_pieces, count=300)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("_new", "if _at(raw) >= self._next.get(raw.place[1], _FIRST):", "if True:"),
        ("_new", "min(unread[partition], default=_END)", "_END"),
        ("_new", "yield from sorted(", "yield from list("),
    ],
)
def test_each_rule_is_needed(name, old, new):
    with mutated(Hearing, name, old, new.replace("list(", "(lambda rows, key: rows)(")):
        assert first_failing_seed(heard_in_pieces, count=300) is not None

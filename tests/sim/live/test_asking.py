"""`--live` beside a loader that lands, dies and comes again, while retention takes what has landed and topics are made anew."""

import random
from dataclasses import dataclass, field, replace
from typing import Any

from headrace.jobs.sql.live import asking
from headrace.jobs.sql.live.asking import Answered, Fetch, IsSame, Look, OvertakenError, ReadFold, Rest
from headrace.sinks.resume import Sight, resume
from headrace.sinks.table.fold import Fold
from headrace.sinks.table.record import CommitRecord, Gap, LandedRange
from tests.sim.harness import Guard, each_guard, run_seeds

PARTITIONS = 3
Row = tuple[int, int, int, int]  # (incarnation, partition, offset, what was produced there)


@dataclass
class Log:
    """One partition as the broker has it: [start, start + len(records))."""

    start: int = 0
    records: list[int] = field(default_factory=list)

    @property
    def end(self) -> int:
        return self.start + len(self.records)

    def at(self, offset: int) -> int | None:
        return self.records[offset - self.start] if self.start <= offset < self.end else None


class World:
    """A topic, its loader, and who asks; `landed` is all that the table has at each record of its log."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.topic_id = "topic-0"
        self.made = 0
        """How often the topic has been made anew: the incarnation of what is produced now."""
        self.logs = [Log() for _ in range(PARTITIONS)]
        self.produced = 0
        self.all, self.gone = set[Row](), set[Row]()
        """Every record that was ever produced, and those that a record of the table's log calls lost."""
        self.has_lost = False
        """Whether retention has taken what had not landed, of a partition that had begun to."""
        self.fold, self.landed = Fold(), set[Row]()
        self.history: dict[str | None, set[Row]] = {None: set()}

    def move(self) -> None:
        """Something happens elsewhere."""
        what = self.rng.choices(
            (self.produce, self.land, self.retain, self.make_anew, self.lose, self.hurry), weights=(8, 8, 6, 1, 0.2, 0.4)
        )[0]
        what()

    def hurry(self) -> None:
        """All lands, and the topic is made anew and grows, between two things that somebody else does."""
        self.land(all_=True)
        self.make_anew()
        for _ in range(40):
            self.produce()

    def produce(self) -> None:
        """Some records of one partition."""
        partition = self.rng.randrange(PARTITIONS)
        for _ in range(self.rng.randrange(1, 9)):
            log = self.logs[partition]
            self.all.add((self.made, partition, log.end, self.produced))
            log.records.append(self.produced)
            self.produced += 1

    def land(self, *, all_: bool = False) -> None:
        """A loader commits up to some offset of some partitions, whatever of it was there."""
        ranges, rows = [], set()
        for partition, log in enumerate(self.logs):
            place = resume(self.fold, partition, self.sight(self.fold, partition))
            if (not all_ and self.rng.random() < 0.5) or (place.gap is None and log.end <= place.offset):
                continue
            end = log.end if all_ else self.rng.randint(place.offset, log.end)
            start = self.fold.end(place.incarnation, partition)
            gaps = (Gap(start, place.offset, place.gap, None, None),) if place.gap else ()
            if end == start:
                continue
            self.gone |= {
                row for row in self.all if row[:2] == (place.incarnation, partition) and start <= row[2] < place.offset
            }
            last = end - 1 if end > place.offset else None
            ranges.append(
                LandedRange(
                    place.incarnation, partition, start, end, end - place.offset, 0, 0, gaps=gaps, last_offset=last,
                    last_fingerprint=None if last is None else str(log.at(last)), topic_id=self.topic_id,
                )
            )  # fmt: skip
            rows |= {(place.incarnation, partition, at, log.records[at - log.start]) for at in range(place.offset, end)}
        if not ranges:
            return
        attempt = f"attempt-{self.fold.seq + 1}"
        record = CommitRecord("load", attempt, "l:1", 0, tuple(ranges), seq=self.fold.seq + 1, prev=self.fold.attempt)
        self.fold.apply(replace(record, generation=1))
        self.landed = self.landed | rows
        self.history[attempt] = self.landed

    def retain(self) -> None:
        """Retention takes what has landed."""
        partition = self.rng.randrange(PARTITIONS)
        self._take(partition, self.fold.end(self.made, partition))

    def lose(self) -> None:
        """Retention takes what it likes."""
        partition = self.rng.randrange(PARTITIONS)
        self._take(partition, self.logs[partition].end)
        known = self.fold.ends.get((self.made, partition))
        self.has_lost |= known is not None and self.logs[partition].start > known.offset

    def _take(self, partition: int, most: int) -> None:
        log = self.logs[partition]
        start = self.rng.randint(log.start, max(log.start, min(most, log.end)))
        self.logs[partition] = Log(start, log.records[start - log.start :])

    def make_anew(self) -> None:
        """Only once all has landed: what had not would be lost with the topic, and nobody could tell."""
        if all(0 < log.end == self.fold.end(self.made, partition) for partition, log in enumerate(self.logs)):
            self.made += 1
            self.topic_id = f"topic-{self.made}"
            self.logs = [Log() for _ in range(PARTITIONS)]

    def sight(self, fold: Fold, partition: int) -> Sight:
        log = self.logs[partition]
        known = fold.ends.get((fold.incarnation(partition), partition))
        record = None if known is None or known.last_offset is None else log.at(known.last_offset)
        return Sight(self.topic_id, log.start, log.end, None if record is None else str(record))

    # What is asked for.

    def answer(self, step: Any) -> Any:
        for _ in range(self.rng.choice((0, 0, 1, 2, 5))):
            self.move()
        match step:
            case ReadFold():
                return self.copied()
            case Look(fold):
                return {partition: self.sight(fold, partition) for partition in range(PARTITIONS)}
            case Fetch(_, spans):
                return self.fetched(spans)
            case IsSame(fold, spans):
                now = [resume(fold, span.partition, self.sight(fold, span.partition)).incarnation for span in spans]
                return all(span.topic_id == self.topic_id for span in spans) and now == [
                    span.place.incarnation for span in spans
                ]
            case Rest():
                return None
        raise AssertionError(step)

    def copied(self) -> Fold:
        fold = self.fold
        return Fold(seq=fold.seq, attempt=fold.attempt, ends=dict(fold.ends))

    def fetched(self, spans: Any) -> set[Row] | None:
        rows = set()
        for span in spans:
            for offset in range(span.place.offset, span.end):
                if self.rng.random() < 0.05:
                    self.move()
                record = self.logs[span.partition].at(offset)
                if record is None:
                    return None
                rows.add((span.place.incarnation, span.partition, offset, record))
        return rows


def live_answers_are_whole(rng: random.Random) -> None:
    """Each answer holds every record up to its ends once, whenever it is asked for, and none goes back."""
    world, before = World(rng), set[Row]()
    for _ in range(6):
        for _ in range(rng.randrange(12)):
            world.move()
        made, answered = world.made, asked(world)
        if answered is None:
            assert world.has_lost or world.made > made, "nothing was lost, and the topic is the same"
            continue
        landed = world.history[answered.fold.attempt]
        assert not landed & answered.fetched, "a row is twice in the answer"
        rows = landed | answered.fetched
        assert rows <= world.all, "a row that never was"
        missing = {row for row in world.all - rows if row[2] < end_of(answered, row[0], row[1])}
        assert all(row in world.gone or is_before(answered, row) for row in missing), "an answer has a gap"
        assert {row for row in before - world.gone if not is_before(answered, row)} <= rows, "an answer goes back"
        before = rows


def asked(world: World) -> Answered | None:
    """What `--live` answers; None where it says that something was lost, or that the topic changes too fast."""
    steps, answer = asking.ask("t"), None
    try:
        while True:
            answer = world.answer(steps.send(answer))
    except StopIteration as done:
        found: Answered = done.value
        return found
    except OvertakenError:
        return None


def end_of(answered: Answered, incarnation: int, partition: int) -> int:
    """The first offset that is not in an answer."""
    ends = [span.end for span in answered.spans if (span.place.incarnation, span.partition) == (incarnation, partition)]
    return max([answered.fold.end(incarnation, partition), *ends])


def is_before(answered: Answered, row: Row) -> bool:
    """Whether a record had gone before its topic's first look: the table begins behind it."""
    incarnation, partition, offset, _ = row
    return any(
        span.place.gap == "before" and offset < span.place.offset
        for span in answered.spans
        if (span.place.incarnation, span.partition) == (incarnation, partition)
    )


def test_a_live_answer_has_neither_gap_nor_overlap_and_never_goes_back() -> None:
    run_seeds(live_answers_are_whole, count=300)


@each_guard(
    (asking, "ask", "if alarms and alarms != suspected:", "if False:"),
    (asking, "ask", "if fetched is not None and (yield from _is_same(fold, spans)):", "if fetched is not None:"),
    (asking, "_is_same", "fold = yield ReadFold()", "pass"),
    (asking, "_refuse_lost", 'if place.gap == "lost":', "if False:"),
    (asking, "_alarms", "fold.end(fold.incarnation(partition), partition)", "0"),
)
def test_a_guard_taken_out_is_noticed(guard: Guard) -> None:
    assert guard.is_noticed(live_answers_are_whole, count=2000)

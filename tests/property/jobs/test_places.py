"""Whatever single fault befalls landed events, its place is named: the event where that can be told, else where it must lie."""

import random
from collections import defaultdict
from dataclasses import dataclass, replace

import numpy as np

from headrace.audit import HASH_MODULUS, WINDOW_MS, event_hash
from headrace.jobs.audit.evidence import WindowSum
from headrace.jobs.audit.places import Difference, Rows, moved, moves, within

SEEDS = range(200)


@dataclass(frozen=True)
class Row:
    agent: str
    stream: str
    since: int
    position: int
    part: int
    window: int
    message: bytes
    file: int

    @property
    def hash(self) -> int:
        return event_hash(self.agent, self.stream, self.position, self.part, self.message)

    @property
    def end(self) -> int:
        return self.position + max(1, len(self.message))


def history(rng):
    """Events of some agents' streams in the order of their lines; some were filtered, some lines came in parts."""
    rows = []
    for agent in ("a", "b")[: rng.choice((1, 2))]:
        for stream in (f"{agent}-1", f"{agent}-2")[: rng.choice((1, 2))]:
            at = since = 0
            for n in range(rng.randrange(8, 60)):
                at += rng.choice((0, 0, 25))  # lines that a rule left out
                message = rng.randbytes(rng.randrange(20)) if rng.random() < 0.3 else b"line %d" % n
                parts = [message, b"rest"] if message and rng.random() < 0.1 else [message]
                for part, text in enumerate(parts):
                    rows.append(Row(agent, stream, since, at, part, n // 12 * WINDOW_MS, text, n // 7))
                    since = at = at + max(1, len(text))
                at += 1
                since = at
    return rows


def sums(rows):
    found = defaultdict(lambda: (0, 0))
    for row in rows:
        count, total = found[row.agent, row.window]
        found[row.agent, row.window] = count + 1, (total + row.hash) % HASH_MODULUS
    return found


def differences(sent, landed):
    one, other = sums(sent), sums(landed)
    return [
        Difference("logs", *key, WindowSum(*one[key]), WindowSum(*other[key]))
        for key in sorted(one.keys() | other.keys())
        if one[key] != other[key]
    ]


def rows_of(difference, landed):
    near = [
        row for row in landed if row.agent == difference.agent and abs(row.window - difference.window_start_ms) <= WINDOW_MS
    ]
    streams = sorted({row.stream for row in near})
    column = lambda name: np.array([getattr(row, name) for row in near], np.int64)  # noqa: E731 - eight of them
    return Rows(
        streams,
        np.array([streams.index(row.stream) for row in near], np.int64),
        column("since"),
        column("position"),
        column("end"),
        column("part"),
        np.array([row.hash for row in near], np.uint64),
        np.array([row.window == difference.window_start_ms for row in near], bool),
        [f"f{n}" for n in range(20)],
        column("file"),
    )


def placed(sent, landed):
    pairs, rest = moves(differences(sent, landed))
    return [place for gone, come in pairs for place in moved(gone, come, rows_of(come, landed))] + [
        place for one in rest for place in within(one, rows_of(one, landed))
    ]


def planted(seed):
    rng = random.Random(seed)
    rows = history(rng)
    at = rng.randrange(len(rows))
    return rng, rows, at, rows[at]


def test_without_a_fault_there_is_no_place():
    for seed in SEEDS:
        _, rows, *_ = planted(seed)
        assert placed(rows, rows) == []


def test_an_event_that_is_there_twice_is_named():
    for seed in SEEDS:
        _, rows, at, row = planted(seed)
        (place,) = placed(rows, [*rows[: at + 1], replace(row, file=19), *rows[at + 1 :]])
        assert (place.kind, place.stream, place.positions) == ("doubled", row.stream, (row.position, row.end))
        assert place.window_start_ms == row.window


def test_an_event_that_is_there_again_under_another_identity_is_named():
    for seed in SEEDS:
        rng, rows, _, row = planted(seed)
        other = replace(
            row, stream=rng.choice((row.stream, f"{row.agent}-9")), position=row.position + 10_000, since=row.since + 10_000
        )
        (place,) = placed(rows, [*rows, other])
        assert (place.kind, place.stream, place.positions) == ("excess", other.stream, (other.position, other.end))


def test_two_events_too_many_are_both_named():
    for seed in SEEDS:
        _, rows, _, row = planted(seed)
        others = [replace(row, stream="x", position=n, since=n, message=b"%d" % n) for n in (7, 70)]
        assert {place.stream for place in placed(rows, [*rows, *others])} == {"x"}
        assert {place.positions[0] for place in placed(rows, [*rows, *others])} == {7, 70}


def test_an_event_that_is_missing_is_in_one_of_the_intervals_that_are_named():
    for seed in SEEDS:
        _, rows, at, row = planted(seed)
        places = placed(rows, [*rows[:at], *rows[at + 1 :]])
        assert {place.kind for place in places} == {"missing"}
        inner = any(one.stream == row.stream and one.position > row.position for one in rows) and any(
            one.stream == row.stream and one.position < row.position for one in rows
        )
        exact = [
            p for p in places if p.stream == row.stream and p.positions and p.positions[0] <= row.position < p.positions[1]
        ]
        assert exact or not inner or all(place.positions is None for place in places)
        assert {place.window_start_ms for place in places} == {row.window}


def test_an_event_that_is_in_another_window_is_named_with_both():
    for seed in SEEDS:
        rng, rows, at, row = planted(seed)
        to = row.window + rng.choice((-3, -1, 1, 2, 40)) * WINDOW_MS
        (place,) = placed(rows, [*rows[:at], replace(row, window=to), *rows[at + 1 :]])
        assert (place.kind, place.window_start_ms, place.moved_to) == ("moved", row.window, ("logs", to))
        assert (place.stream, place.positions) == (row.stream, (row.position, row.end))


def test_an_event_of_other_bytes_lies_among_the_positions_that_are_named():
    for seed in SEEDS:
        _, rows, at, row = planted(seed)
        places = placed(rows, [*rows[:at], replace(row, message=row.message[:-1] + b"\xff"), *rows[at + 1 :]])
        (place,) = [place for place in places if place.kind == "altered"]
        assert place.window_start_ms == row.window
        assert place.stream in (row.stream, None)
        if place.stream:
            assert place.positions[0] <= row.position < place.positions[1]

"""What a batch job's rows are does not depend on how its input is cut into batches, files and workers, and is what it says.

Each case makes rows at random, cuts and merges them at random, and compares with an answer in plain Python, row by row.
"""

import random
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from headrace.jobs.batch.counts import Counts
from headrace.jobs.batch.errors import REST, Errors
from headrace.jobs.batch.event_rows import Rows, Span
from headrace.jobs.batch.grouping import ordered
from headrace.jobs.batch.patterns import patterns_of
from headrace.jobs.batch.sessions import Sessions
from headrace.jobs.batch.top import Candidates, Top, counts_and_totals
from tests.landed_tables import ENVELOPE

DAY = "2025-11-23"
START_US = Span.of_day(DAY).start_us
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HOUR_US = 3_600_000_000
SEEDS = range(15)
WORDS = ("GET /a", "ERROR no route to 10.0.0.7", "WARN slow: 31 ms", "[error] child 6725 gone", "plain")


def made(random_, count, *, before_us=0):
    """Rows of the envelope, most of one day, some of the hours before, many of one moment."""
    rows = []
    for offset in range(count):
        at_us = START_US + random_.choice((-before_us, 0, 0)) + random_.randrange(24) * HOUR_US // random_.choice((1, 7, 60))
        fields = [("user", f"u{random_.randrange(4)}")] if random_.random() < 0.8 else []
        fields += [("status", str(random_.choice((200, 404, 503))))] if random_.random() < 0.3 else []
        rows.append(
            {
                "event_time": None if random_.random() < 0.05 else at_us + random_.randrange(3),
                "host": random_.choice(("web-1", "web-2", None)),
                "service": random_.choice(("shop", "search")),
                "message": random_.choice(WORDS),
                "fields": fields,
                "_incarnation": 0,
                "_partition": random_.randrange(2),
                "_offset": offset,
                "_timestamp": at_us // 1000,
            }
        )
    return rows


def time_of(row):
    return row["_timestamp"] * 1000 if row["event_time"] is None else row["event_time"]


def moment(us):
    return EPOCH + timedelta(microseconds=us)


def order_of(row):
    return time_of(row), row["_incarnation"], row["_partition"], row["_offset"]


def answer(job, rows, random_, *, span=None, given=None):
    """What the job says of rows that are cut into batches, merged in any order and grouping."""
    span = span or Span.of_day(DAY)
    shuffled = random_.sample(rows, len(rows))
    parts = []
    while shuffled:
        count = random_.randint(1, len(shuffled))
        batch = Rows("logs", pa.Table.from_pylist(shuffled[:count], schema=ENVELOPE)).within(span.back(job.reach_us()))
        parts.append(job.partial(batch, given))
        del shuffled[:count]
    while len(parts) > 1:
        some = [parts.pop(random_.randrange(len(parts))) for _ in range(random_.randint(2, len(parts)))]
        parts.append(job.merge(pa.concat_tables(some)))
        parts = [job.merge(each) if random_.random() < 0.2 else each for each in parts]
    finished = job.finish(job.merge(parts[0]), span, given)
    assert finished.schema.equals(job.schema)
    return ordered(finished, job.order).to_pylist()


@pytest.mark.parametrize("seed", SEEDS)
def test_counts_of_any_split_are_those_of_each_row(seed):
    random_ = random.Random(seed)
    rows = made(random_, random_.randint(1, 80), before_us=2 * HOUR_US)
    found = answer(Counts(), rows, random_)
    day = [row for row in rows if START_US <= time_of(row) < START_US + 24 * HOUR_US]
    expected = Counter((row["host"], moment(time_of(row) // HOUR_US * HOUR_US)) for row in day)
    assert {(row["host"], row["hour"]): row["events"] for row in found} == dict(expected)
    assert len(found) == len(expected)


def sessions_of(rows, gap_us):
    """Of each user, in plain Python."""
    by_key = defaultdict(list)
    for row in sorted(rows, key=order_of):
        if user := dict(row["fields"]).get("user"):
            by_key[user].append(row)
    for key, its in by_key.items():
        begun = 0
        for at in range(1, len(its) + 1):
            if at == len(its) or time_of(its[at]) - time_of(its[at - 1]) > gap_us:
                yield key, its[begun:at]
                begun = at


@pytest.mark.parametrize("seed", SEEDS)
def test_sessions_of_any_split_are_those_of_each_row(seed):
    random_ = random.Random(seed)
    gap_us = random_.choice((1, 60_000_000, HOUR_US // 7, HOUR_US))
    rows = made(random_, random_.randint(1, 80), before_us=3 * HOUR_US)
    found = answer(Sessions(by="fields.user", gap=gap_us / 1e6, longest=24 * 3600), rows, random_)
    expected = [
        {
            "topic": "logs",
            "key": key,
            "start": moment(time_of(its[0])),
            "end": moment(time_of(its[-1])),
            "events": len(its),
            "first": its[0]["message"],
            "last": its[-1]["message"],
            "cut": False,
        }
        for key, its in sessions_of(rows, gap_us)
        if START_US <= time_of(its[-1]) + gap_us < START_US + 24 * HOUR_US
    ]
    assert found == sorted(expected, key=lambda row: (row["key"], row["start"]))


@pytest.mark.parametrize("seed", SEEDS)
def test_each_session_is_in_one_day_and_whole_there_unless_it_is_marked(seed):
    random_ = random.Random(seed)
    gap_us = random_.choice((HOUR_US // 2, HOUR_US))
    rows = [
        {**made(random_, 1)[0], "event_time": START_US + random_.randrange(-30 * HOUR_US, 54 * HOUR_US), "_offset": offset}
        for offset in range(random_.randint(20, 400))
    ]
    job = Sessions(by="fields.user", gap=gap_us / 1e6, longest=10 * 3600)
    whole = {(key, time_of(its[-1])): its for key, its in sessions_of(rows, gap_us)}
    seen = Counter()
    for number in range(-2, 4):
        span = Span(START_US + number * 24 * HOUR_US, START_US + (number + 1) * 24 * HOUR_US)
        for row in answer(job, rows, random_, span=span):
            its = whole[row["key"], (row["end"] - EPOCH) // timedelta(microseconds=1)]
            seen[row["key"], row["end"]] += 1
            begun_us = time_of(its[0])
            if not row["cut"]:
                assert (row["events"], row["start"], row["first"]) == (len(its), moment(begun_us), its[0]["message"])
            else:
                assert begun_us < span.start_us - 10 * HOUR_US
                assert row["events"] == sum(time_of(each) >= span.start_us - 10 * HOUR_US - gap_us for each in its)
    assert set(seen) == {(key, moment(end_us)) for key, end_us in whole}
    assert set(seen.values()) <= {1}


def skewed(random_, count):
    values = [f"v{min(random_.randrange(1, 60), random_.randrange(1, 60))}" for _ in range(count)]
    return [{**made(random_, 1)[0], "_offset": n, "fields": [("v", value)]} for n, value in enumerate(values)]


def count_values(rows):
    counts, totals = Counter(), Counter()
    for row in rows:
        group = (time_of(row) // HOUR_US * HOUR_US, row["host"])
        counts[group, dict(row["fields"])["v"]] += 1
        totals[group] += 1
    return counts, totals


@pytest.mark.parametrize("seed", SEEDS)
def test_the_sketch_keeps_every_frequent_value_and_its_counts_are_as_close_as_it_says(seed):
    random_ = random.Random(seed)
    rows, kept = skewed(random_, random_.randint(1, 400)), random_.choice((1, 3, 10, 1000))
    job = Candidates(by="fields.v", per="host", one_in=kept, k=10_000)
    parts = [
        job.partial(Rows("logs", pa.Table.from_pylist(rows[at : at + 30], schema=ENVELOPE)), None)
        for at in range(0, len(rows), 30)
    ]
    random_.shuffle(parts)
    merged = parts[0]
    for part in parts[1:]:
        merged = job.merge(pa.concat_tables([merged, part]))
    counts, totals = count_values(rows)
    about = {(row["hour"], row["group"]): row for row in merged.to_pylist() if row["is_total"]}
    assert {group: row["events"] for group, row in about.items()} == totals
    sizes = Counter()
    estimates = {}
    for row in merged.to_pylist():
        if not row["is_total"]:
            estimates[(row["hour"], row["group"]), row["value"]] = row["events"]
            sizes[row["hour"], row["group"]] += 1
    for (group, value), true in counts.items():
        assert estimates.get((group, value), 0) <= true <= estimates.get((group, value), 0) + about[group]["cut"]
        assert (group, value) in estimates or true * (kept + 1) <= totals[group]
    for group, row in about.items():
        assert sizes[group] <= kept
        assert row["cut"] * (kept + 1) <= totals[group] - sum(n for (g, _), n in estimates.items() if g == group)


@pytest.mark.parametrize("seed", SEEDS)
def test_top_of_any_split_is_that_of_exact_counts(seed):
    random_ = random.Random(seed)
    rows = skewed(random_, random_.randint(1, 400))
    options = {"by": "fields.v", "per": "host", "k": random_.choice((1, 3, 50)), "one_in": random_.choice((2, 10, 25, 1000))}
    span = Span(None, None)
    candidates = pa.Table.from_pylist(answer(Candidates(**options), rows, random_, span=span), Candidates.schema)
    found = answer(Top(**options), rows, random_, span=span, given=candidates)
    counts, totals = count_values(rows)
    expected = {}
    for group, total in totals.items():
        enough = [(-n, value) for (g, value), n in counts.items() if g == group and n * options["one_in"] >= total]
        for rank, (n, value) in enumerate(sorted(enough)[: options["k"]], 1):
            expected[moment(group[0]), group[1], rank] = (value, -n, total)
    assert {(row["hour"], row["group"], row["rank"]): (row["value"], row["events"], row["total"]) for row in found} == expected


LEVELS = {"GET /a": None, WORDS[1]: "error", WORDS[2]: "warning", WORDS[3]: "error", "plain": None}
OF_STATUS = {"200": "info", "404": "warning", "503": "error"}


@pytest.mark.parametrize("seed", SEEDS)
def test_errors_of_any_split_count_every_event_once(seed):
    random_ = random.Random(seed)
    rows = made(random_, random_.randint(1, 120))
    most = random_.choice((1, 2, 1000))
    known = pa.table({"topic": ["logs"], "service": ["shop"], "pattern": ["ERROR no route to <ip>"]})
    found = answer(Errors(most=most), rows, random_, span=Span(None, None), given=known)
    assert sum(row["events"] for row in found) == len(rows)
    expected, firsts, totals = Counter(), {}, Counter()
    for row in sorted(rows, key=order_of):
        status = dict(row["fields"]).get("status")
        level = OF_STATUS.get(status) or LEVELS[row["message"]]
        pattern = patterns_of(pa.array([row["message"]]))[0].as_py() if level == "error" else None
        hour = (row["service"], moment(time_of(row) // HOUR_US * HOUR_US))
        key = (*hour, level, status and int(status), pattern)
        expected[key] += 1
        totals[hour] += 1
        firsts.setdefault(key, (moment(time_of(row)), row["message"] if pattern else None))
    by_hour = defaultdict(list)
    for key, events in expected.items():
        if key[4] is not None:
            by_hour[key[:2]].append((-events, key[2], (key[3] is None, key[3] or 0), key[4], key))
    rest = {ranked[-1] for hour in by_hour.values() for ranked in sorted(hour)[most:]}
    for key in rest:
        other = (*key[:4], REST)
        expected[other] += expected.pop(key)
        firsts[other] = min(firsts.get(other, firsts[key]), firsts[key], key=lambda first: first[0])
    named = {(row["service"], row["hour"], row["level"], row["status"], row["pattern"]): row for row in found}
    assert {key: row["events"] for key, row in named.items()} == dict(expected)
    assert len(named) == len(found)
    for key, row in named.items():
        assert row["total"] == totals[key[:2]]
        assert row["first"] == firsts[key][0]
        if key[4] in (None, REST):
            assert row["new"] is None
        else:
            assert row["example"] == firsts[key][1]
            assert row["new"] is (key[0] != "shop" or key[4] != "ERROR no route to <ip>")


def test_without_rows_there_are_none():
    random_ = random.Random(1)
    rows = made(random_, 3)
    empty = Span(0, 1)
    for job in (Counts(), Sessions(by="fields.user"), Candidates(), Errors()):
        assert answer(job, rows, random_, span=empty) == []
    assert answer(Top(), rows, random_, span=empty, given=Candidates.schema.empty_table()) == []
    assert counts_and_totals(Candidates().counts(Rows("logs", ENVELOPE.empty_table()))).num_rows == 0

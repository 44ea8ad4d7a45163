"""The job `recount` gives the verdict of `headrace audit --recount`: of the same windows, in the same words."""

import json
from collections import defaultdict

import pyarrow as pa
import pytest

from headrace.audit import HASH_MODULUS, window_start_ms
from headrace.cli import main
from headrace.clock import SystemClock
from headrace.jobs.audit.recount_report import BY_NUMBER
from headrace.jobs.audit.wording import when
from headrace.jobs.batch.catalog import made
from headrace.jobs.batch.event_rows import Span
from headrace.jobs.batch.running import rows_of_job
from headrace.sinks.compaction.compact import compact_table
from headrace.sinks.compaction.plan import Limits
from headrace.sinks.expire import Ages, expire_table
from headrace.sinks.table.record import AuditSum, Gap
from tests.landed_faults import (
    in_another_window,
    move_to_another_hour,
    rewrite,
    with_again,
    with_other_bytes,
    with_other_number,
    without,
)
from tests.landed_tables import TEXT, AuditWriter, Event, TableWriter, announce

T0 = 1_763_900_400_000  # 12:20 of DAY
DAY, DAY_MS = "2025-11-23", 24 * 3_600_000
AT = T0 + 9_000_000
FAULTS = {"lost": without(20), "doubled": with_again(20), "altered": with_other_bytes(20), "moved": in_another_window(20)}
NAMES = ("topic", "window_start", "agent", "host", "sent", "recorded", "counted", "state")
OWN = pa.schema([("_headers", pa.list_(pa.struct([("name", pa.string()), ("value", pa.binary())]))), *TEXT])


def events(topic):
    return [Event(f"of-{topic}", n * 30, T0 + n * 45_000, message=f"GET /{n} 200") for n in range(60)]


def named(event):
    """A row under a user's own schema, of which headers say whose it is."""
    numbers = {"position": event.position, "since": event.position, "part": 0, "end": event.position + 30}
    headers = {"agent_id": event.agent, "stream_id": "s", **numbers, "timestamp": event.event_ms}
    said = [{"name": name, "value": str(value).encode()} for name, value in headers.items()]
    return {"_headers": said, "_key": None, "value": "{}", "_timestamp": event.event_ms}


def sums(sent):
    windows = defaultdict(list)
    for event in sent:
        windows[event.agent, window_start_ms(event.event_ms)].append(event.hash)
    return tuple(AuditSum(*key, len(them), 0, f"{sum(them) % HASH_MODULUS:016x}", 0) for key, them in windows.items())


def land(root, topic, *, sent=None):
    """Two records of a topic, and what its agent says of them."""
    mine = events(topic)
    for some in (mine[:40], mine[40:]):
        TableWriter(root, topic).land_events(some)
    AuditWriter(root).land(*announce(topic, sent or mine, AT, acked={0: len(mine)}))


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A topic for each fault, and for each kind of table."""
    root = tmp_path_factory.mktemp("planted")
    for topic in ("whole", "elsewhere", "compacted", "compacted-lost", "settled", "settled-lost", "expired", *FAULTS):
        land(root, topic)
    for fault, change in FAULTS.items():
        rewrite(root, fault, change)
        land(root, f"{fault}-unseen")
        rewrite(root, f"{fault}-unseen", change, ("file", "sums"))
    move_to_another_hour(root, "elsewhere", 20)
    for topic in ("compacted", "compacted-lost"):
        assert compact_table(root, topic, Limits(), SystemClock(), progress=lambda _: None).before
    rewrite(root, "compacted-lost", without(20))
    rewrite(root, "settled-lost", without(20), ("file",))
    for topic in ("settled", "settled-lost"):
        for day in range(1, 5):
            gaps = (Gap(59 + day, 60 + day, "compacted"),)
            TableWriter(root, topic).land([], gaps=gaps, created_ms=1_763_900_000_000 + day * DAY_MS)
    expire_table(root, "expired", Ages(events=T0 + 2_400_000), SystemClock(), dry_run=False)
    for topic, last in (("own", 60), ("own-lost", 59), ("own-altered", 60)):
        mine = events(topic)
        TableWriter(root, topic, OWN).land([named(event) for event in mine[:last]], audit=sums(mine))
        AuditWriter(root).land(*announce(topic, mine, AT, acked={0: 60}))
    rewrite(root, "own-altered", with_other_number("_offset", 20))
    land(root, "mixed")
    TableWriter(root, "mixed", OWN).land([named(event) for event in events("mixed")[:5]])
    TableWriter(root, "nobodys", TEXT).land([{"_key": b"k", "value": "{}", "_timestamp": T0 + n * 60_000} for n in range(30)])
    land(root, "more-announced", sent=[*events("more-announced"), Event("of-more-announced", 9_000, T0 + 3_000_000)])
    TableWriter(root, "unannounced").land_events(events("unannounced"))
    (damaged, *_) = TableWriter(root, "unreadable").land_events(events("unreadable"))
    damaged.write_bytes(b"~" * damaged.stat().st_size)
    return root


@pytest.mark.parametrize("day", [DAY, None])
def test_the_job_says_of_every_kind_of_fault_and_table_what_the_audit_says(planted, capsys, day):
    assert main(["audit", "--root", str(planted), "--recount", "--format", "json", *(["--day", day] if day else [])]) == 3
    told = capsys.readouterr()
    expected = {tuple(json.loads(line).values()) for line in told.out.splitlines()}
    rows = rows_of_job(made("recount"), planted, Span.of_day(day) if day else Span()).to_pylist()
    found = {
        (row["topic"], f"{row['window_start']:%Y-%m-%dT%H:%M:%SZ}", *(row[name] for name in NAMES[2:]))
        for row in rows
        if row["window_start"]
    }
    assert found == expected
    assert {(state, sum(row[-1] == state for row in found) > 3) for state in ("same", "differs", "expired")} == {
        ("same", True),
        ("differs", True),
        ("expired", True),
    }
    assert said(rows) == {line for line in told.err.splitlines() if BY_NUMBER not in line}
    wrong = {row["topic"] for row in rows if row["state"] == "differs"}
    assert wrong >= {
        *FAULTS,
        "elsewhere",
        "compacted-lost",
        "settled-lost",
        "own-lost",
        "own-altered",
        "more-announced",
        "unreadable",
    }
    assert wrong >= {f"{fault}-unseen" for fault in FAULTS}
    assert not wrong & {"whole", "compacted", "settled", "expired", "own", "nobodys"}


def said(rows):
    """What the job says, as the command says it."""
    lines = set()
    for row in rows:
        for what in row["says"] or ():
            at = f", {when(int(row['window_start'].timestamp() * 1000))}" if row["window_start"] else ""
            lines.add(f"headrace audit: {row['topic']}{at}: {what}")
    return lines

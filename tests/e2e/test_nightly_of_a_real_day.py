"""One day as a night may find it, real processes: lines that are missing, repeated, late, and some that are lost for good.

The output of the night is compared row by row with what plain Python makes of the source's lines.
"""

import random
import socket
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from confluent_kafka import TopicPartition

from headrace.audit import AUDIT_TOPIC
from tests.integration.sinks.pipeline import Pipeline
from tests.nights import Nights, counted, replaced, rows
from tests.processes import Part, free_port
from tests.relay import Relay
from tests.waiting import until

pytestmark = pytest.mark.slow

WEB, SHOP = "web", "shop"
"""Two topics of the same lines: nothing of the first is lost for good."""
GAP = timedelta(minutes=10)
LINES, LOST = 400, 5

Line = tuple[datetime, str]


@pytest.fixture
def zone() -> str:
    """A time zone in which it is about noon, so that no midnight comes in between."""
    ahead = (12 - datetime.now(UTC).hour) % 24
    return f"Etc/GMT-{ahead}" if ahead <= 12 else f"Etc/GMT+{24 - ahead}"


@pytest.fixture
def relay() -> Iterator[Relay]:
    made = Relay()
    yield made
    made.close()


@pytest.fixture
def pipeline(tmp_path: Path, relay: Relay) -> Iterator[Pipeline]:
    """Broker and registry; agents reach the broker through the relay."""
    port, relay.target_port = free_port(), free_port()
    ways = {
        "listeners": f"PLAINTEXT://127.0.0.1:{port},AGENTS://127.0.0.1:{relay.target_port}",
        "advertised_listeners": f"PLAINTEXT://127.0.0.1:{port},AGENTS://127.0.0.1:{relay.port}",
        "listener_security_protocol_map": "PLAINTEXT:PLAINTEXT,AGENTS:PLAINTEXT",
    }
    with Pipeline(tmp_path, **ways) as made:
        made.create_topic(WEB)
        made.create_topic(SHOP)
        yield made


def agent(pipeline: Pipeline, relay: Relay, file: Path) -> Part:
    config: dict[str, Any] = {
        "agent": {"state_dir": str(pipeline.directory / "agent")},
        "kafka": {"bootstrap.servers": f"127.0.0.1:{relay.port}"},
        "registry": pipeline.registry_url,
        "inputs": [{"tail": [str(file)], "topic": topic, "name": topic} for topic in (WEB, SHOP)],
    }
    return Part("agent", pipeline.directory, config)


def source(rng: random.Random, day: datetime) -> list[Line]:
    """Lines of a day and of the last hours before it, in bursts; no two at one time."""
    found: list[Line] = []
    time = day - timedelta(hours=4)
    while len(found) < LINES:
        found.append((time, f"{time.isoformat()} line {len(found):04d} of a service"))
        time += timedelta(seconds=rng.randint(1, 420) if rng.random() < 0.95 else rng.randint(700, 5000))
    return [line for line in found if line[0] < day + timedelta(days=1)]


def write(file: Path, some: list[Line]) -> None:
    with file.open("a") as log:
        log.write("".join(f"{text}\n" for _, text in some))


def counts_of(lines: list[Line], day: datetime) -> list[dict[str, Any]]:
    """What the job `counts` should say of a day."""
    hours = Counter(
        time.astimezone(UTC).replace(minute=0, second=0) for time, _ in lines if day <= time < day + timedelta(days=1)
    )
    host = socket.gethostname()
    return [
        {"dt": str(day.date()), "topic": WEB, "host": host, "hour": hour, "events": events} for hour, events in hours.items()
    ]


def sessions_of(lines: list[Line], day: datetime) -> list[dict[str, Any]]:
    """What the job `sessions` should say of a day: those of which it is known in this day that they have ended."""
    runs: list[list[Line]] = []
    for line in sorted(lines):
        if runs and line[0] - runs[-1][-1][0] <= GAP:
            runs[-1].append(line)
        else:
            runs.append([line])
    host = socket.gethostname()
    return [
        {
            "dt": str(day.date()), "topic": WEB, "key": host, "start": run[0][0], "end": run[-1][0], "events": len(run),
            "first": run[0][1], "last": run[-1][1], "cut": False,
        }
        for run in runs if day <= run[-1][0] + GAP < day + timedelta(days=1)
    ]  # fmt: skip


def assert_output(root: Path, lines: list[Line], days: list[datetime]) -> None:
    """The tables hold what these lines make of these days, row by row, and nothing else."""
    for table, time, made in (("job_counts", "hour", counts_of), ("visits", "start", sessions_of)):
        expected = [row for day in days for row in made(lines, day)]
        assert expected
        found = rows(root, table)
        assert sorted(found, key=lambda row: (row["dt"], row[time])) == sorted(expected, key=lambda row: (row["dt"], row[time]))


def test_a_night_waits_for_what_is_missing_counts_repeats_once_runs_again_for_late_lines_and_tells_of_what_is_lost(
    tmp_path: Path, pipeline: Pipeline, relay: Relay, zone: str
) -> None:
    rng = random.Random(41)
    today = datetime.now(ZoneInfo(zone)).replace(hour=0, minute=0, second=0, microsecond=0)
    before, day = today - timedelta(days=2), today - timedelta(days=1)
    every = source(rng, day)
    early = [line for line in every if line[0] < day]
    parts: list[list[Line]] = [[], [], [], []]
    for line in every[len(early) :]:
        rng.choices(parts, [6, 2, 2, 2])[0].append(line)
    soon, repeated, missing, late = parts
    file = tmp_path / "web.log"
    shipper = agent(pipeline, relay, file)
    pipeline.parts.append(shipper)
    jobs = [
        {"job": "counts", "topics": [WEB]},
        {"job": "sessions", "topics": [WEB], "options": {"gap": "10m"}, "into": "visits"},
        {"job": "counts", "topics": [SHOP], "into": "shop_counts"},
    ]
    metrics = tmp_path / "nightly.prom"
    nights = Nights(pipeline.root, tmp_path, {"jobs": jobs, "time_zone": zone, "catch_up": 2, "metrics": str(metrics)})
    on = str(day.date())

    def arrived(count: int) -> None:
        """Wait until so many are in each topic's log."""
        until(lambda: min(pipeline.end(topic) for topic in (WEB, SHOP)) >= count)

    def ship(lines: list[Line], again: int = 0) -> None:
        """Have them sent, and `again` more before them; the agent says so as it ends."""
        end = min(pipeline.end(topic) for topic in (WEB, SHOP)) + again + len(lines)
        write(file, lines)
        shipper.start(wait=False)
        arrived(end)
        assert shipper.stop() == 0, shipper.log_tail()

    # An agent is killed when its lines are in the log and no answer has come to it: it sends them again.
    write(file, early + soon)
    shipper.start(wait=False)
    arrived(len(early + soon))
    relay.swallow_answers()
    write(file, repeated)
    arrived(len(early + soon + repeated))
    shipper.kill()
    relay.cut()
    ship([], again=len(repeated))
    pipeline.load_once()

    # More lines have been sent than have landed. Some of the other topic are gone before they could.
    ship(missing)
    pipeline.load_once(topics=[AUDIT_TOPIC])
    first = TopicPartition(SHOP, 0, pipeline.end(SHOP) - len(missing) + LOST)
    pipeline.admin.delete_records([first])[first].result(10)
    held = nights.run(status=4)
    assert outcomes(held, on) == dict.fromkeys(("job_counts", "visits", "shop_counts"), ("held", "unknown"))
    assert "acknowledged" in held[on, "job_counts"]["why"]
    option = "--day" if zone == "Etc/GMT-0" else "--since"  # a day of UTC is named
    assert f"headrace audit --root {pipeline.root} {option} " in nights.last_line  # whichever day is first
    assert "headrace_nightly_exit_status 4" in metrics.read_text()

    # It lands.
    pipeline.load_once()
    assert pipeline.end(WEB) >= len(early + soon + repeated * 2 + missing)
    ran = nights.run(status=3)
    assert outcomes(ran, on) == {
        "job_counts": ("ran", "complete"), "visits": ("ran", "complete"), "shop_counts": ("held", "incomplete"),
    }  # fmt: skip
    assert_output(pipeline.root, early + soon + repeated + missing, [before, day])
    assert "missing" in ran[on, "shop_counts"]["why"]
    assert f"--day {on} --job shop_counts --force" in nights.last_line

    # Lines that come later than all that.
    ship(late)
    pipeline.load_once()
    again = nights.run(status=3)
    assert outcomes(again, on)["job_counts"] == outcomes(again, on)["visits"] == ("ran", "complete")
    assert (again[on, "job_counts"]["why"], again[str(before.date()), "job_counts"]["outcome"]) == ("changed", "done")
    assert_output(pipeline.root, every, [before, day])
    assert replaced(pipeline.root) == [str(before.date()), on, on]

    # What is lost for good is left out when a person says so.
    nights.run("--day", on, "--job", "shop_counts", "--force")
    assert counted(pipeline.root, "shop_counts")[on] == len(every) - len(early) - LOST
    assert {entry["outcome"] for entry in nights.run("status").values()} == {"done"}
    assert "nothing is to be done" in nights.last_line
    pipeline.assert_sound()


def outcomes(entries: dict[tuple[str, str], dict[str, Any]], on: str) -> dict[str, tuple[str, str]]:
    """What became of a day, by table."""
    return {table: (entry["outcome"], entry["verdict"]) for (day, table), entry in entries.items() if day == on}

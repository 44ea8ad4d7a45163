"""`headrace query --live` against a real broker, beside a real loader that is killed in between."""

import json
import signal
from contextlib import ExitStack
from threading import Event, Thread

import pytest

from headrace.clock import SystemClock
from headrace.jobs.sql.live.fetching import Broker
from headrace.jobs.sql.live.tables import LiveTables
from headrace.jobs.sql.options import Options
from headrace.jobs.sql.session import Session
from headrace.sinks.config import LoadConfig
from tests import forks
from tests.integration.sinks.pipeline import Pipeline, lines
from tests.terminal import PROMPT, Terminal

PARTITIONS = 2
BATCH = 50


class Producer(Thread):
    """Lines for all partitions, until it is told to end."""

    def __init__(self, pipeline):
        super().__init__(daemon=True)
        self.pipeline, self.over, self.acknowledged = pipeline, Event(), 0

    def run(self):
        while not self.over.wait(0.05):
            for partition in range(PARTITIONS):
                batch = lines(BATCH, start=self.acknowledged, stream=f"{partition}9999999-8888-7777-6666-555555555555")
                self.pipeline.ship("logs", batch, partition=partition)
            self.acknowledged += BATCH


def offsets(session):
    with session.ask('SELECT _partition AS p, _offset AS o FROM "logs"') as reader:
        rows = reader.read_all().to_pylist()
    return {number: sorted(row["o"] for row in rows if row["p"] == number) for number in range(PARTITIONS)}


@pytest.mark.slow
def test_live_answers_are_gapless_without_repeats_and_never_go_back_while_a_loader_is_killed(tmp_path):
    with Pipeline(tmp_path) as pipeline, ExitStack() as stack:
        pipeline.root.mkdir()
        pipeline.create_topic("logs", PARTITIONS)
        loader = pipeline.loader(rotate={"age": "1s"})
        config = LoadConfig.model_validate(
            {
                "load": {"root": str(pipeline.root)},
                "kafka": {"bootstrap.servers": pipeline.bootstrap},
                "registry": pipeline.registry_url,
            }
        )
        scratch = tmp_path / "scratch"
        scratch.mkdir()
        broker = Broker(config, SystemClock(), lambda *_: None)
        producer = Producer(pipeline)
        producer.start()
        stack.callback(producer.over.set)
        tables = LiveTables(str(pipeline.root), broker, scratch)
        with Session(tables, Options(readable=(str(scratch),))) as session:
            seen = dict.fromkeys(range(PARTITIONS), 0)
            landed = []

            def ask_on(times):
                for _ in range(times):
                    acknowledged = producer.acknowledged
                    for partition, found in offsets(session).items():
                        assert found == list(range(len(found)))
                        assert len(found) >= max(acknowledged, seen[partition])
                        seen[partition] = len(found)
                    landed.append(tables.landed("logs").seq)

            while not producer.acknowledged:
                producer.over.wait(0.01)
            ask_on(3)  # nothing has landed
            loader.start()
            ask_on(12)
            loader.kill()
            ask_on(5)
            loader.start()
            ask_on(12)
            producer.over.set()
            producer.join()
            ask_on(1)
            assert set(seen.values()) == {producer.acknowledged}
            assert len(set(landed)) > 3  # there were commits between the questions
        broker.close()


def query(pipeline, sql, *more):
    """What the command answers, and what it says on standard error of what it has fetched."""
    command = [*forks.PREFIX, "query", "--live", "--root", str(pipeline.root), sql, "--format", "json"]
    where = ["--bootstrap", pipeline.bootstrap, "--registry", pipeline.registry_url]
    done = forks.run([*command, *where, *more], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()], [json.loads(line) for line in done.stderr.splitlines()]


@pytest.mark.slow
def test_the_command_answers_what_was_produced_before_anything_has_landed_and_beside_a_killed_loader(tmp_path):
    count = "SELECT count(*) AS n, count(DISTINCT _offset) AS offsets FROM logs"
    with Pipeline(tmp_path) as pipeline:
        pipeline.create_topic("logs")
        assert query(pipeline, "SELECT count(*) AS n FROM logs")[0] == [{"n": 0}]
        pipeline.ship("logs", lines(40))
        pipeline.produce("logs", [b"no envelope", b""])
        said = {"topic": "logs", "rows": 40, "quarantined": 2, "duplicates": 0}
        assert not pipeline.root.exists()
        assert query(pipeline, count) == ([{"n": 40, "offsets": 40}], [said])
        assert not pipeline.root.exists()
        pipeline.root.mkdir()
        loader = pipeline.loader(rotate={"age": "1s"}).start()
        pipeline.wait_for_rows("logs", 40)
        loader.kill()
        pipeline.ship("logs", lines(25, start=30))  # ten of them again
        answers, told = query(pipeline, count)
        assert (answers, told) == (
            [{"n": 55, "offsets": 55}],
            [{"topic": "logs", "rows": 15, "quarantined": 0, "duplicates": 10}],
        )
        walk_through_a_shell(pipeline, tmp_path)


def walk_through_a_shell(pipeline, directory):
    """Statements beside a broker that hangs for a while, and one that was given up."""
    (directory / "tmp").mkdir()
    where = ("--live", "--bootstrap", pipeline.bootstrap, "--registry", pipeline.registry_url)
    with Terminal(pipeline.root, directory / "state", *where, TMPDIR=str(directory / "tmp")) as terminal:
        terminal.until(PROMPT)
        terminal.type("SELECT count(*) + 4600 AS n FROM logs;\r")
        terminal.until(r"4655\s*\r\n1 row(?s:.*)15 rows from the broker(?s:.*)" + PROMPT)
        pipeline.broker.process.send_signal(signal.SIGSTOP)
        terminal.type("SELECT count(*) + 4700 AS n FROM logs;\r")
        terminal.until(r"\d s")
        terminal.type("\x03\x03")
        terminal.until("interrupted(?s:.*)" + PROMPT)
        pipeline.broker.process.send_signal(signal.SIGCONT)
        terminal.type("SELECT count(*) + 4800 AS n FROM logs;\r")
        terminal.until(r"4855\s*\r\n1 row(?s:.*)15 rows from the broker(?s:.*)" + PROMPT)
        terminal.type("\x04")
        assert terminal.ends() == 0
    assert "4755" not in terminal.said
    assert not list((directory / "tmp").iterdir())

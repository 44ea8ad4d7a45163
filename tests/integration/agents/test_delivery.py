"""Delivery before a real broker: what a record's failure does to its chunk, its stream, and to others."""

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Message
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # they are there, and documented

from headrace.agents.delivery import Delivery
from headrace.agents.events.encoder import ChunkEncoder
from headrace.agents.events.pipeline import definition
from headrace.agents.rejected import Rejected
from headrace.agents.rows import ChunkRow, StreamRow
from headrace.agents.state import ChunkResult
from tests.envelopes import event_of
from tests.integration.agents.topic_log import records_in
from tests.processes import Part, broker

_PLAIN = definition(parse={"type": "plain"})
AGENT = "6d4b7f0e-7f3c-4a52-8f5c-3f4f9f6a1c11"
READ_MS = 1_795_424_400_123
SMALL = 10_000  # the greatest batch that a topic of these tests takes


@dataclass
class Bench:
    """One delivery, and what became of the chunks given to it."""

    kafka: Part
    directory: Path
    delivery: Delivery
    done: dict[tuple[str, int], ChunkResult] = field(default_factory=dict)

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.kafka.ports['kafka']}"

    def send(self, topic: str, lines: list[bytes], *, stream: str = "s-1", start: int = 0) -> int:
        """Give one chunk of lines, and return where the next one begins."""
        data = b"".join(line + b"\n" for line in lines)
        row = StreamRow(stream, topic, 0, "h", "web", "/var/log/web.log", "/var/log/web.log", 1, 2, 0)
        chunk = ChunkRow(stream, start, start + len(data), start, start, READ_MS, _PLAIN, 500_000, "")
        encoded = ChunkEncoder(AGENT, b"\0\0\0\0\7").encode(row, chunk, data)
        self.delivery.send(row, chunk, encoded)
        return start + len(data)

    def turn(self, wait_s: float = 0.02) -> None:
        """What the agent does, over and over; a second of its time passes."""
        self.delivery.poll(wait_s)
        self.done |= {(stream, start): result for stream, start, result in self.delivery.take_done()}
        self.delivery.retry_failed()

    def until(self, condition: Callable[[], bool], *, timeout_s: float = 30) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, "not in time"
            self.turn()

    def deliver(self) -> None:
        self.until(lambda: not self.delivery.on_their_way)

    def rejected(self, topic: str) -> list[dict[str, Any]]:
        file = self.directory / "rejected" / f"{topic}.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def make(self, topic: str, **config: str) -> str:
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        keys = {key.replace("_", "."): value for key, value in config.items()}
        admin.create_topics([NewTopic(topic, 1, config=keys)])[topic].result()
        return topic

    def log(self, topic: str) -> list[Message]:
        """Every record of a topic's one partition."""
        return records_in({"bootstrap.servers": self.bootstrap}, topic)

    def messages(self, topic: str) -> list[bytes]:
        """The lines in a topic, in order."""
        return [event_of(message.value() or b"")["message"].encode() for message in self.log(topic)]


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Part]:
    with broker(tmp_path_factory.mktemp("broker"), auto_create_topics_enable=False) as running:
        yield running


Making = Callable[..., Bench]


@pytest.fixture
def making(kafka: Part, tmp_path: Path) -> Iterator[Making]:
    made: list[Bench] = []

    def make(*, dead_letter_topic: str | None = None, max_bytes: int = 10**7, **settings: Any) -> Bench:
        keys = {"bootstrap.servers": f"127.0.0.1:{kafka.ports['kafka']}", "topic.metadata.propagation.max.ms": 100}
        keys |= {key.replace("_", "."): value for key, value in settings.items()}
        delivery = Delivery(keys, AGENT, Rejected(tmp_path / "rejected", max_bytes), dead_letter_topic, lambda *_: None)
        made.append(Bench(kafka, tmp_path, delivery))
        return made[-1]

    yield make
    for each in made:
        each.delivery.let_go()


def counts(result: ChunkResult) -> list[tuple[int, int]]:
    return [(tally.count, tally.bytes_total) for tally in result.windows.values()]


def test_fault_04_one_record_that_the_broker_refuses_costs_none_of_its_batch(making: Making) -> None:
    bench = making()
    topic = bench.make("refusing", max_message_bytes=str(SMALL))
    lines = [b"line 0", b"line 1", os.urandom(3 * SMALL).replace(b"\n", b""), b"line 3", b"line 4"]
    end = bench.send(topic, lines)
    bench.send(topic, [b"line 5"], start=end)
    bench.deliver()
    assert bench.messages(topic) == [b"line 0", b"line 1", b"line 3", b"line 4", b"line 5"]
    (row,) = bench.rejected(topic)
    assert (row["error"], row["position"], row["stream_id"]) == ("MSG_SIZE_TOO_LARGE", 14, "s-1")
    result = bench.done["s-1", 0]
    assert list(result.rejected.values()) == [1]
    assert counts(result) == [(4, 24)]
    assert (result.next_offset, bench.done["s-1", end].next_offset) == (4, 5)


def test_a_topic_whose_batches_must_be_small_gets_all_that_fits_it_alone(making: Making) -> None:
    bench = making(compression_type="none")
    topic = bench.make("small", max_message_bytes=str(SMALL))
    lines = [b"line %d" % (n % 10) for n in range(500)]
    bench.send(topic, lines)
    bench.deliver()
    assert bench.messages(topic) == lines
    assert not bench.rejected(topic)


def test_fault_04_what_is_refused_for_good_is_in_the_dead_letter_topic_before_its_chunk_is_done(making: Making) -> None:
    bench = making(dead_letter_topic="letters", compression_type="none")
    topic = bench.make("with-letters", max_message_bytes=str(SMALL))
    end = bench.send(topic, [b"line 0", b"x" * 2 * SMALL, b"line 2"])
    bench.until(lambda: len(bench.rejected(topic)) == 1)
    bench.send(topic, [b"line 3"], start=end)
    for _ in range(20):
        bench.turn()
    assert not bench.done, "the dead-letter topic is not there yet"
    assert bench.messages(topic) == [b"line 0", b"line 2"], "what follows waits"
    bench.make("letters")
    bench.deliver()
    assert bench.messages(topic) == [b"line 0", b"line 2", b"line 3"]
    assert list(bench.done["s-1", 0].rejected.values()) == [1]


def test_a_dead_letter_is_the_record_with_its_reason_and_identity(making: Making) -> None:
    bench = making(dead_letter_topic="told", compression_type="none")
    topic = bench.make("telling", max_message_bytes=str(SMALL))
    bench.make("told")
    bench.send(topic, [b"line 0", b"y" * 2 * SMALL])
    bench.deliver()
    (letter,) = bench.log("told")
    assert b"y" * 2 * SMALL in (letter.value() or b"")
    assert letter.key() == b"s-1"
    assert letter.timestamp()[1] == READ_MS
    headers: Any = letter.headers()
    assert dict(headers) == {
        "reason": b"MSG_SIZE_TOO_LARGE", "topic": b"telling", "partition": b"0", "agent_id": AGENT.encode(),
        "stream_id": b"s-1", "position": b"7", "since": b"7", "part": b"0", "end": b"20007", "content": b"record",
    }  # fmt: skip


def test_a_record_that_not_even_the_dead_letter_topic_takes_is_in_rejected_alone(making: Making) -> None:
    bench = making(dead_letter_topic="narrow", compression_type="none")
    topic = bench.make("wide", max_message_bytes=str(SMALL))
    bench.make("narrow", max_message_bytes=str(SMALL))
    bench.send(topic, [b"z" * 2 * SMALL])
    bench.deliver()
    assert len(bench.rejected(topic)) == 1
    assert bench.log("narrow") == []
    assert bench.done["s-1", 0].next_offset == 0


def test_a_full_rejected_directory_holds_the_stream_up_and_no_other(making: Making, caplog: pytest.LogCaptureFixture) -> None:
    bench = making(message_max_bytes=3000, batch_size=2000, max_bytes=9000)
    topic = bench.make("full")
    (bench.directory / "rejected").mkdir()
    filling = bench.directory / "rejected" / "filling"
    filling.write_bytes(b"-" * 8999)
    end = bench.send(topic, [b"line 0", b"x" * 5000])
    bench.until(lambda: "a rejected record waits for the disk" in caplog.text)
    bench.send(topic, [b"line 2"], start=end)
    bench.send(topic, [b"line 9"], stream="s-2")
    bench.until(lambda: ("s-2", 0) in bench.done)
    assert ("s-1", 0) not in bench.done
    assert bench.messages(topic) == [b"line 0", b"line 9"]
    filling.unlink()
    bench.deliver()
    assert bench.messages(topic) == [b"line 0", b"line 9", b"line 2"]
    assert len(bench.rejected(topic)) == 1


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_fault_03_a_broker_that_is_away_fills_the_queue_and_no_more_and_all_arrives_in_order(tmp_path: Path) -> None:
    with broker(tmp_path) as kafka:
        settings = {
            "bootstrap.servers": f"127.0.0.1:{kafka.ports['kafka']}", "queue.buffering.max.kbytes": 512,
            "socket.connection.setup.timeout.ms": 1000, "reconnect.backoff.max.ms": 200,
        }  # fmt: skip
        delivery = Delivery(settings, AGENT, Rejected(tmp_path / "rejected", 10**7), None, lambda *_: None)
        bench = Bench(kafka, tmp_path, delivery)
        topic, sent, start = bench.make("away"), 0, bench.send("away", [b"line 000000"])
        bench.deliver()
        kafka.kill()
        while not bench.delivery.full:
            start = bench.send(topic, [b"line %06d" % (sent + n + 1) for n in range(200)], start=start)
            sent += 200
        assert sent < 10_000
        for _ in range(20):  # clients and allocators settle
            bench.turn()
        before = resident_bytes()
        for _ in range(360):  # a second of the agent's time each
            bench.turn(0.002)
            assert bench.delivery.full
        assert resident_bytes() - before < 8 * 2**20
        kafka.start()
        bench.deliver()
        assert bench.messages(topic) == [b"line %06d" % n for n in range(sent + 1)]
        assert list(bench.done) == sorted(bench.done)


def test_batches_are_cut_to_what_their_topic_takes_once_it_has_refused_one(
    making: Making, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    bench = making(compression_type="none")
    topic, wide = bench.make("cut", max_message_bytes=str(SMALL)), bench.make("uncut")
    first = [b"line %d " % number + b"x" * 1000 for number in range(40)]
    end = bench.send(topic, first)
    bench.deliver()
    bench.until(lambda: "batches are cut to what a topic takes" in caplog.text)
    assert "not delivered" in caplog.text
    caplog.clear()
    second = [b"line %d " % number + b"y" * 1000 for number in range(400)]
    bench.send(topic, second, start=end)
    bench.send(wide, second, stream="s-2")
    bench.deliver()
    assert "not delivered" not in caplog.text
    assert bench.messages(topic) == first + second
    assert bench.messages(wide) == second
    assert not bench.rejected(topic)


def test_a_larger_record_than_its_topic_takes_is_refused_alone_among_cut_batches_too(
    making: Making, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    bench = making(compression_type="none")
    topic = bench.make("cut-again", max_message_bytes=str(SMALL))
    end = bench.send(topic, [b"x" * 1000] * 40)
    bench.until(lambda: "batches are cut to what a topic takes" in caplog.text)
    bench.send(topic, [b"before", b"z" * 3 * SMALL, b"after"], start=end)
    bench.deliver()
    assert bench.messages(topic)[40:] == [b"before", b"after"]
    assert [row["error"] for row in bench.rejected(topic)] == ["MSG_SIZE_TOO_LARGE"]

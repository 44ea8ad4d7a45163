"""kill -9 of the broker while clients work: nothing acknowledged is lost, and idempotent producers leave no duplicates."""

import threading
import time
from pathlib import Path

import confluent_kafka
import kafka
import pytest

from tests.compat.clients import CLIENTS, Client
from tests.processes import Part, broker


def address(part: Part) -> str:
    return f"127.0.0.1:{part.ports['kafka']}"


class _Producing(threading.Thread):
    """An idempotent producer of numbered values, until it is told that the kills are over; a thread, because a part dies with
    the thread that started it."""

    def __init__(self, bootstrap: str) -> None:
        super().__init__(daemon=True)
        settings = {"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 2, "log_level": 0}
        self._producer = confluent_kafka.Producer({**settings, "reconnect.backoff.max.ms": 200, "message.timeout.ms": 60_000})
        self.acknowledged: list[int] = []
        self.failed: list[object] = []
        self.over = threading.Event()
        self.total = self.unsent = 0

    def run(self) -> None:
        while not self.over.is_set():
            try:
                self._producer.produce("t", b"%08d" % self.total + bytes(200), partition=0, on_delivery=self._delivered)
            except BufferError:  # the broker is away for long
                self._producer.poll(0.1)
                continue
            self.total += 1
            self._producer.poll(0)
            if self.total % 200 == 0:
                time.sleep(0.008)  # many batches, so that the kills fall into the middle of some
        self.unsent = self._producer.flush(60)

    def _delivered(self, error: confluent_kafka.KafkaError | None, message: confluent_kafka.Message) -> None:
        if error is None:
            self.acknowledged.append(int(message.value()[:8]))
        else:
            self.failed.append(error)


@pytest.mark.slow
def test_an_idempotent_producer_survives_kill_9_without_loss_or_duplicate(tmp_path: Path) -> None:
    with broker(tmp_path) as part:
        producing = _Producing(address(part))
        producing.start()
        for _ in range(3):
            before = len(producing.acknowledged)
            while len(producing.acknowledged) < before + 5000:
                time.sleep(0.01)
            part.kill()
            part.start()
        producing.over.set()
        producing.join()
        numbers = list(range(producing.total))
        assert (producing.unsent, producing.failed) == (0, [])
        assert sorted(producing.acknowledged) == numbers
        stored = [int(value[:8]) for value in CLIENTS[0].consume(address(part), "t", producing.total)]
        assert stored == numbers


@pytest.mark.slow
@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_what_was_acknowledged_before_kill_9_is_there_after(tmp_path: Path, client: Client) -> None:
    part = broker(tmp_path).start()
    values = [b"%06d" % number for number in range(2000)]
    client.produce(address(part), "t", values)
    part.kill()
    with part:
        client.produce(address(part), "t", [b"after"])
        assert client.consume(address(part), "t", 2001) == [*values, b"after"]


def test_a_consumer_of_a_group_goes_on_where_it_committed(tmp_path: Path) -> None:
    part = broker(tmp_path, group_initial_rebalance_delay_ms=0).start()
    CLIENTS[1].produce(address(part), "t", [b"%d" % number for number in range(100)])
    settings = {"bootstrap_servers": address(part), "group_id": "g", "enable_auto_commit": False}
    consumer = kafka.KafkaConsumer("t", auto_offset_reset="earliest", max_poll_records=40, **settings)
    got: list[bytes] = []
    while len(got) < 40:
        got += [record.value for records in consumer.poll(500).values() for record in records]
    consumer.commit()
    part.kill()
    with part:
        deadline = time.monotonic() + 40
        while len(got) < 100 and time.monotonic() < deadline:
            got += [record.value for records in consumer.poll(500).values() for record in records]
        consumer.commit()
        consumer.close()
        assert sorted(set(got), key=int) == [b"%d" % number for number in range(100)]
        committed = kafka.KafkaConsumer("t", **settings)
        assert committed.committed(kafka.TopicPartition("t", 0)) == 100
        committed.close()

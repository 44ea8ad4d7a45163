"""A broker that is told to stop: who waits is answered, nothing that was acknowledged is lost, nothing has to be recovered."""

import json
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import confluent_kafka
import pytest

from tests.integration.broker.requests import FETCH, PRODUCE, batch, create_topic, fetch_body, produce, produce_body
from tests.integration.groups.wire_client import WireClient
from tests.processes import Part, broker, free_port
from tests.waiting import until


def wire(part: Part) -> WireClient:
    return WireClient(part.ports["kafka"])


def lines(part: Part, message: str) -> list[dict[str, Any]]:
    """What the broker logged under that message."""
    logged = [json.loads(line) for line in part.log_file.read_text().splitlines()]
    return [line for line in logged if line["msg"] == message]


def asked(part: Part, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{part.ports['http']}{path}", timeout=10) as response:
            return response.status, response.read().decode().strip()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode().strip()


def test_a_broker_that_serves_is_alive_and_ready_and_says_what_it_is(tmp_path: Path) -> None:
    with broker(tmp_path, http=f"127.0.0.1:{free_port()}") as part:
        assert asked(part, "/healthz") == (200, "ok")
        assert asked(part, "/readyz") == (200, "ok")
        until(lambda: lines(part, "broker ready"))  # it is logged when all of that is so
        (ready,) = lines(part, "broker ready")
        assert ready["ports"] == part.ports
        assert ready["version"]


def test_a_long_poll_is_answered_at_once_and_the_next_start_has_nothing_to_recover(tmp_path: Path) -> None:
    part = broker(tmp_path)
    with part, wire(part) as client:
        create_topic(client, "t")
        produce(client, "t", batch(b"x"))
        client.send(FETCH, 11, fetch_body("t", 1, max_wait=30_000, min_bytes=1))
        time.sleep(0.2)  # until it waits; earlier it would be answered as well, or not be read
        began = time.monotonic()
        part.process.send_signal(signal.SIGTERM)
        answer = client.receive()
        assert not answer.responses[0].partitions[0].records
        assert part.wait(20) == 0
        assert time.monotonic() - began < 20
    part.start()
    assert lines(part, "broker stopped")[0]["seconds"] < 15
    assert lines(part, "logs loaded")[-1]["clean"] is True
    part.stop()


def test_members_that_wait_for_others_do_not_keep_the_broker(tmp_path: Path) -> None:
    part = broker(tmp_path, group_initial_rebalance_delay_ms=20_000)
    with part, wire(part) as client:
        join = {
            "group_id": "g",
            "session_timeout": 30_000,
            "rebalance_timeout": 30_000,
            "member_id": "",
            "group_instance_id": None,
            "protocol_type": "consumer",
            "protocols": [{"name": "range", "metadata": b"\0\1\0\0\0\0\0\0\0\0"}],
            "reason": None,
        }
        client.send(11, 3, join)
        time.sleep(0.3)
        began = time.monotonic()
        assert part.stop() == 0
        assert time.monotonic() - began < 15


def test_a_produce_that_waits_for_its_fsync_is_answered(tmp_path: Path) -> None:
    part = broker(tmp_path)
    with part, wire(part) as client:
        create_topic(client, "t", flush_ms="600")
        client.send(PRODUCE, 9, produce_body("t", batch(b"x"), acks=-1))
        time.sleep(0.1)
        part.process.send_signal(signal.SIGTERM)
        assert client.receive().responses[0].partition_responses[0].error_code == 0
        assert part.wait(10) == 0


def test_new_connections_and_requests_are_not_taken_while_it_stops(tmp_path: Path) -> None:
    part = broker(tmp_path, http=f"127.0.0.1:{free_port()}")
    with part, wire(part) as client, wire(part) as other:
        create_topic(client, "t", flush_ms="1500")
        client.send(PRODUCE, 9, produce_body("t", batch(b"x"), acks=-1))
        time.sleep(0.1)
        part.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert asked(part, "/readyz") == (503, "stopping")
        assert asked(part, "/healthz") == (200, "ok")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", part.ports["kafka"]), timeout=2)
        with pytest.raises((AssertionError, ConnectionResetError)):
            produce(other, "t", batch(b"late"))
        assert client.receive().responses[0].partition_responses[0].error_code == 0
        assert part.wait(10) == 0


@pytest.mark.slow
def test_under_load_nothing_that_was_acknowledged_is_lost_and_each_stop_is_clean(tmp_path: Path) -> None:
    part = broker(tmp_path)
    part.start()
    acknowledged: list[bytes] = []
    done = threading.Event()

    def produce_on() -> None:
        settings = {"bootstrap.servers": f"127.0.0.1:{part.ports['kafka']}", "acks": "all", "enable.idempotence": True}
        producer = confluent_kafka.Producer({**settings, "linger.ms": 1, "reconnect.backoff.max.ms": 100})
        number = 0
        while not done.is_set():
            value = b"%d" % number
            producer.produce("t", value, on_delivery=lambda error, message: error or acknowledged.append(message.value()))
            producer.poll(0.001)
            number += 1
        assert producer.flush(30) == 0

    thread = threading.Thread(target=produce_on)
    thread.start()
    try:
        for _ in range(3):
            time.sleep(1)
            assert part.stop() == 0
            part.start()
    finally:
        done.set()
        thread.join()
    consumer = confluent_kafka.Consumer({"bootstrap.servers": f"127.0.0.1:{part.ports['kafka']}", "group.id": "g"})
    consumer.assign([confluent_kafka.TopicPartition("t", 0, 0)])
    found: list[bytes] = []
    deadline = time.monotonic() + 30
    while len(found) < len(acknowledged) and time.monotonic() < deadline:
        found += [message.value() for message in consumer.consume(5_000, 0.2)]
    consumer.close()
    assert len(acknowledged) > 1_000
    assert set(acknowledged) <= set(found)
    assert len(found) == len(set(found))
    assert all(line["clean"] for line in lines(part, "logs loaded")[1:])
    part.stop()


def test_a_stop_that_is_told_again_at_once_goes_on_in_order(tmp_path: Path) -> None:
    part = broker(tmp_path)
    with part, wire(part) as client:
        create_topic(client, "t", flush_ms="500")
        client.send(PRODUCE, 9, produce_body("t", batch(b"x"), acks=-1))
        time.sleep(0.1)
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            part.process.send_signal(signum)
            time.sleep(0.05)
        assert client.receive().responses[0].partition_responses[0].error_code == 0
        assert part.wait(10) == 0


def test_fsyncs_and_times_of_requests_are_in_the_metrics(tmp_path: Path) -> None:
    with broker(tmp_path, http=f"127.0.0.1:{free_port()}") as part, wire(part) as client:
        create_topic(client, "t", flush_messages="1")
        for _ in range(3):
            client.call(PRODUCE, 9, produce_body("t", batch(b"x"), acks=-1))
        _, text = asked(part, "/metrics")
        told = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        assert float(told["kafka_log_logflushstats_logflushrateandtimems_count"]) == 3
        assert float(told['kafka_network_requestmetrics_totaltimems_count{request="Produce"}']) == 3
        assert float(told['kafka_network_requestmetrics_localtimems_sum{request="Produce"}']) > 0
        assert float(told["kafka_log_logmanager_remaininglogstorecover"]) == 0
        (free,) = [value for name, value in told.items() if name.startswith("headrace_broker_log_dir_free_bytes")]
        assert float(free) > 0

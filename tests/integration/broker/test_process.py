"""The broker as a process: what keeps it from starting, how it stops, and what is there after kill -9."""

import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from headrace.broker.coordination.sqlite import SqliteStore
from tests.integration.broker.requests import (
    DELETE_TOPICS,
    batch,
    create_topic,
    fetch,
    fetch_body,
    metadata,
    new_producer_id,
    produce,
    produce_body,
    values,
)
from tests.integration.groups.wire_client import WireClient
from tests.processes import AFRESH, Part, broker, free_port


def refused(part: Part) -> tuple[int, str]:
    """Start something that must not start: exit status and what it said."""
    part.start(wait=False)
    return part.wait(20), part.log_tail()


def wire(part: Part) -> WireClient:
    return WireClient(part.ports["kafka"])


def test_a_busy_port_is_exit_2_and_nothing_is_created(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        config = {"listeners": f"PLAINTEXT://127.0.0.1:{port}", "log.dirs": str(tmp_path / "data")}
        status, said = refused(Part("broker", tmp_path, config))
    assert status == 2
    assert f"127.0.0.1:{port}" in said
    assert not (tmp_path / "data").exists()


def test_a_directory_in_use_is_exit_2(tmp_path: Path) -> None:
    with broker(tmp_path / "first", log_dirs=str(tmp_path / "data")):
        status, said = refused(broker(tmp_path / "second", log_dirs=str(tmp_path / "data")))
    assert status == 2
    assert "another broker uses it" in said


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("num.partition", 3, "did you mean num.partitions?"),
        ("num.partitions", "many", "num.partitions"),
        ("listeners", "SSL://127.0.0.1:9092", "ssl.keystore.location is missing"),
        ("listeners", "127.0.0.1", "write it as PLAINTEXT://host:port"),
        ("log.dirs", "/a,/a", "named twice"),
        ("log.dirs", "/a,", "name a directory"),
        ("log.dirs", "/proc/nowhere", "log.dirs"),
        ("log.cleanup.policy", "burn", "log.cleanup.policy"),
        ("advertised.listeners", "PLAINTEXT:9", "advertised.listeners"),
        ("advertised.listeners", "PLAINTEXT://:9092", "that they can reach"),
        ("advertised.listeners", "PLAINTEXT://here:0", "that they can reach"),
        ("log.dirs", "", "name a directory"),
        ("group.min.session.timeout.ms", 1_800_001, "no member could join"),
        ("http", "9600", "host:port"),
    ],
)
def test_a_wrong_configuration_is_exit_2_and_one_line(tmp_path: Path, key: str, value: Any, said: str) -> None:
    config = {"listeners": f"PLAINTEXT://127.0.0.1:{free_port()}", "log.dirs": str(tmp_path / "data"), key: value}
    status, output = refused(Part("broker", tmp_path, config))
    assert status == 2, output
    assert said in output
    assert len(output.strip().splitlines()) == 1


def test_listening_beyond_loopback_is_warned_of_loudly(tmp_path: Path) -> None:
    port = free_port()
    with broker(
        tmp_path, listeners=f"PLAINTEXT://0.0.0.0:{port}", advertised_listeners=f"PLAINTEXT://127.0.0.9:{port}"
    ) as part:
        assert "WITHOUT TLS AND WITHOUT AUTHENTICATION" in part.log()
        with wire(part) as client:
            assert [(each.host, each.port) for each in metadata(client).brokers] == [("127.0.0.9", port)]


def test_port_0_is_some_port_and_the_run_file_and_clients_are_told_which(tmp_path: Path) -> None:
    with broker(tmp_path, listeners="PLAINTEXT://127.0.0.1:0") as part:
        assert json.loads(part.run_file.read_text())["pid"] == part.process.pid if part.process else False
        with wire(part) as client:
            assert metadata(client).brokers[0].port == part.ports["kafka"] > 0


def test_more_partitions_are_written_than_descriptors_are_allowed_by_default(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    part = broker(tmp_path)
    resource.setrlimit(resource.RLIMIT_NOFILE, (300, hard))  # of this process too, which may have over a hundred open
    try:
        part.start(under=AFRESH)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with wire(part) as client:
        create_topic(client, "many", 350)
        assert {produce(client, "many", batch(b"x"), partition=at).error_code for at in range(350)} == {0}
    assert part.stop() == 0


def test_sigterm_ends_quickly_and_cleanly_and_all_is_there_again(tmp_path: Path) -> None:
    part = broker(tmp_path).start()
    with wire(part) as client, wire(part) as waiting:
        create_topic(client, "kept", 3, retention_ms="777000")
        topic_id = metadata(client, "kept").topics[0].topic_id
        cluster_id = metadata(client).cluster_id
        produce(client, "kept", batch(b"a"), partition=2)
        waiting.send(1, 11, {**_long_poll("kept")})
        begin = time.monotonic()
        assert part.stop() == 0
        assert time.monotonic() - begin < 20
    assert not part.run_file.exists()
    assert (tmp_path / "broker" / ".kafka_cleanshutdown").exists()
    with part, wire(part) as client:
        again = metadata(client, "kept")
        assert (again.topics[0].topic_id, again.cluster_id, len(again.topics[0].partitions)) == (topic_id, cluster_id, 3)
        asked = [{"resource_type": 2, "resource_name": "kept", "configuration_keys": ["retention.ms"]}]
        body = {"resources": asked, "include_synonyms": False, "include_documentation": False}
        assert client.call(32, 4, body).results[0].configs[0].value == "777000"
        fetched = client.call(1, 11, _fetch_partition("kept", 2)).responses[0].partitions[0]
        assert values(fetched) == [b"a"]


def _long_poll(topic: str) -> dict[str, Any]:
    body = _fetch_partition(topic, 0)
    return {**body, "max_wait": 60_000}


def _fetch_partition(topic: str, partition: int) -> dict[str, Any]:
    return fetch_body(topic, 0, partitions=(partition,))


def test_kill_9_keeps_what_was_acknowledged_and_what_is_known_of_producers(tmp_path: Path) -> None:
    part = broker(tmp_path).start()
    with wire(part) as client:
        create_topic(client, "t")
        producer_id = new_producer_id(client)
        batches = [batch(b"%d" % number, producer_id=producer_id, sequence=number) for number in range(20)]
        for number, each in enumerate(batches):
            assert produce(client, "t", each).base_offset == number
        part.kill()
    with part, wire(part) as client:
        assert new_producer_id(client) > producer_id
        assert produce(client, "t", batches[-1]).base_offset == 19  # a repetition, known as such after the crash
        assert produce(client, "t", batch(b"20", producer_id=producer_id, sequence=20)).base_offset == 20
        assert values(fetch(client, "t", 0)) == [b"%d" % number for number in range(21)]


def test_flushed_topics_are_acknowledged_and_exposed_after_the_fsync(tmp_path: Path) -> None:
    with broker(tmp_path) as part, wire(part) as client, wire(part) as reader:
        create_topic(client, "durable", flush_messages="1")
        create_topic(client, "timed", flush_ms="300")
        reader.send(1, 11, {**_long_poll("durable"), "max_wait": 20_000})
        assert produce(client, "durable", batch(b"a"), acks=-1).base_offset == 0
        assert values(reader.receive().responses[0].partitions[0]) == [b"a"]
        begin = time.monotonic()
        assert produce(client, "timed", batch(b"a"), acks=-1).base_offset == 0
        assert 0.1 < time.monotonic() - begin < 20
        for number in range(200):  # many in flight share few fsyncs
            client.send(0, 9, produce_body("durable", batch(b"%d" % number), acks=-1))
        offsets = [client.receive().responses[0].partition_responses[0].base_offset for _ in range(200)]
        assert offsets == list(range(1, 201))


def test_records_that_are_not_durable_in_time_are_told_so(tmp_path: Path) -> None:
    with broker(tmp_path) as part, wire(part) as client:
        create_topic(client, "slow", flush_messages="1000")
        body = {**produce_body("slow", batch(b"a"), acks=-1), "timeout": 300}
        (late,) = client.call(0, 9, body).responses[0].partition_responses
        assert (late.error_code, late.base_offset) == (7, -1)  # REQUEST_TIMED_OUT
        assert values(fetch(client, "slow", 0)) == []  # and not exposed


def test_a_deletion_that_a_crash_cut_short_is_finished_at_the_next_start(tmp_path: Path) -> None:
    part = broker(tmp_path).start()
    with wire(part) as client:
        create_topic(client, "doomed", 2)
        create_topic(client, "other")
        topic_id = metadata(client, "doomed").topics[0].topic_id
        part.kill()
    store = SqliteStore(tmp_path / "broker" / "coordination.db")
    store.begin_deletion(topic_id)  # what the crash left: marked, files still there
    store.close()
    with part, wire(part) as client:
        assert metadata(client, "doomed", create=False).topics[0].error_code == 3
        assert metadata(client, "other", create=False).topics[0].error_code == 0
        assert not list((tmp_path / "broker").glob("doomed-[0-9]"))


def test_topics_whose_store_was_lost_are_taken_over_from_their_files(tmp_path: Path) -> None:
    part = broker(tmp_path).start()
    with wire(part) as client:
        create_topic(client, "found", 2)
        topic_id = metadata(client, "found").topics[0].topic_id
        produce(client, "found", batch(b"still here"))
    assert part.stop() == 0
    for file in (tmp_path / "broker").glob("coordination.db*"):
        file.unlink()
    with part, wire(part) as client:
        assert "taken over from its files" in part.log()
        again = metadata(client, "found", create=False).topics[0]
        assert (again.topic_id, len(again.partitions)) == (topic_id, 2)
        assert values(fetch(client, "found", 0)) == [b"still here"]


def test_deleted_topics_leave_no_files_after_the_delay(tmp_path: Path) -> None:
    with broker(tmp_path, log_segment_delete_delay_ms=0) as part, wire(part) as client:
        create_topic(client, "gone", 3)
        body = {"topics": [{"name": "gone", "topic_id": None}], "timeout": 9000}
        assert client.call(DELETE_TOPICS, 6, body).responses[0].error_code == 0
        deadline = time.monotonic() + 10
        while list((tmp_path / "broker").glob("gone-*")) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not list((tmp_path / "broker").glob("gone-*"))


def test_metrics_count_requests_and_bytes(tmp_path: Path) -> None:
    with broker(tmp_path, http=f"127.0.0.1:{free_port()}") as part, wire(part) as client:
        create_topic(client, "t")
        produce(client, "t", batch(b"x" * 5000))
        fetch(client, "t", 0)
        with urllib.request.urlopen(f"http://127.0.0.1:{part.ports['http']}/metrics", timeout=20) as response:
            lines = dict(line.rsplit(" ", 1) for line in response.read().decode().splitlines() if not line.startswith("#"))
        assert float(lines['kafka_network_requestmetrics_requests_total{request="Produce",version="9"}']) == 1
        assert float(lines['kafka_server_brokertopicmetrics_bytesin_total{topic="t"}']) > 5000
        assert float(lines['kafka_server_brokertopicmetrics_bytesout_total{topic="t"}']) > 5000
        assert float(lines['kafka_server_brokertopicmetrics_messagesin_total{topic="t"}']) == 1
        assert float(lines['kafka_log_log_logendoffset{partition="0",topic="t"}']) == 1
        assert float(lines["headrace_broker_received_bytes_total"]) > 5000
        assert float(lines["headrace_broker_sent_bytes_total"]) > 5000
        assert float(lines['kafka_server_socketservermetrics_connection_count{listener="PLAINTEXT"}']) == 1


def test_the_broker_dies_with_the_parent_that_started_it(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from tests.processes import broker;"
        f"part = broker(Path({str(tmp_path)!r})).start(); print(part.process.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 0)
            time.sleep(0.05)
            continue
        return
    os.kill(pid, signal.SIGKILL)
    pytest.fail("the broker outlived its parent")

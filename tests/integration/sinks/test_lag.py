"""`headrace lag` beside our broker and beside Apache Kafka: what it says is what the broker and the tables' logs say."""

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from tests import forks
from tests.apache_kafka import ApacheKafka, is_installed
from tests.integration.sinks.pipeline import Pipeline
from tests.processes import Part

HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    with Pipeline(tmp_path_factory.mktemp("lag"), log_retention_check_interval_ms=200) as one:
        yield one


def lag(config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*forks.PREFIX, "lag", "--config", str(config), *arguments]
    return forks.run(command, capture_output=True, text=True, timeout=60, check=False)


def rows(config: Path, *arguments: str) -> dict[tuple[str, int], dict[str, Any]]:
    done = lag(config, "--format", "json", *arguments)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return {(row["topic"], row["partition"]): row for row in found}


def test_what_has_landed_is_no_lag_and_what_comes_after_is_with_its_age_and_what_retention_leaves(pipeline: Pipeline) -> None:
    pipeline.create_topic("blobs", 2, retention_ms=str(HOUR_MS))
    pipeline.produce("blobs", (b"%d" % n for n in range(30)))
    pipeline.load_once(topics=["blobs"])
    config = pipeline.parts[-1].config_file
    first = rows(config, "blobs")
    assert [(row["landed_offset"], row["end_offset"], row["lag_offsets"]) for row in first.values()] == [(30, 30, 0), (0, 0, 0)]
    landed = first["blobs", 0]
    assert (landed["lag_seconds"], landed["seconds_until_retention"], landed["lost_offsets"]) == (0, None, 0)
    assert landed["files"] == 1
    assert landed["files_per_gigabyte"] == pytest.approx(1e9 / landed["file_bytes"], abs=0.1)
    assert 0 <= landed["at_ms"] - landed["last_commit_ms"] < 60_000

    before_ms = time.time() * 1000
    old_ms = int(before_ms) - 600_000
    pipeline.producer.produce("blobs", b"old", partition=0, timestamp=old_ms)
    pipeline.produce("blobs", (b"%d" % n for n in range(4)))
    pipeline.produce("blobs", [b"one"], partition=1)
    second = rows(config, "blobs")
    assert [(row["landed_offset"], row["end_offset"], row["lag_offsets"]) for row in second.values()] == [
        (30, 35, 5),
        (0, 1, 1),
    ]
    behind = second["blobs", 0]
    assert behind["lag_seconds"] == pytest.approx((behind["at_ms"] - old_ms) / 1000, abs=2)
    assert behind["seconds_until_retention"] == pytest.approx(3600 - behind["lag_seconds"], abs=2)
    assert second["blobs", 1]["lag_seconds"] < behind["lag_seconds"] - 500


def test_what_retention_took_before_it_landed_has_no_time_left_and_is_lost_once_landing_has_gone_on(pipeline: Pipeline) -> None:
    pipeline.create_topic("taken", segment_bytes="20000", retention_bytes="40000")
    pipeline.produce("taken", (b"x" * 100 for _ in range(100)))
    pipeline.load_once(topics=["taken"])
    config = pipeline.parts[-1].config_file
    for _ in range(12):
        pipeline.produce("taken", (b"y" * 1000 for _ in range(20)))
    deadline = time.monotonic() + 30
    while (row := rows(config, "taken")["taken", 0])["seconds_until_retention"] != 0:
        assert time.monotonic() < deadline, row
    assert (row["landed_offset"], row["lag_offsets"], row["lost_offsets"]) == (100, 240, 0)
    pipeline.load_once(topics=["taken"])
    after = rows(config, "taken")["taken", 0]
    assert (after["landed_offset"], after["lag_offsets"]) == (340, 0)
    assert 0 < after["lost_offsets"] < 240
    shown = lag(config, "taken").stdout
    assert f"{after['lost_offsets']:,}" in shown


def test_a_topic_made_anew_is_behind_from_its_first_record_and_one_that_is_gone_has_no_end(pipeline: Pipeline) -> None:
    pipeline.create_topic("anew")
    pipeline.create_topic("gone")
    pipeline.produce("anew", (b"%d" % n for n in range(7)))
    pipeline.produce("gone", (b"%d" % n for n in range(3)))
    pipeline.load_once(topics=["anew", "gone"])
    config = pipeline.parts[-1].config_file
    pipeline.delete_topic("gone")
    pipeline.delete_topic("anew")
    pipeline.create_topic("anew")
    pipeline.produce("anew", (b"%d" % n for n in range(9)))
    found = rows(config, "anew", "gone")
    assert (found["anew", 0]["landed_offset"], found["anew", 0]["lag_offsets"]) == (0, 9)
    assert (found["gone", 0]["landed_offset"], found["gone", 0]["end_offset"], found["gone", 0]["lag_offsets"]) == (
        3,
        None,
        None,
    )


def test_a_topic_that_is_not_known_is_a_usage_error_with_the_nearest_name(pipeline: Pipeline) -> None:
    pipeline.create_topic("orders")
    config = pipeline.loader(topics=["orders"]).config_file
    done = lag(config, "ordres")
    assert done.returncode == 2
    assert "did you mean orders?" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_broker_that_does_not_answer_is_exit_status_1_in_one_line(tmp_path: Path) -> None:
    config = tmp_path / "load.yaml"
    config.write_text(yaml.safe_dump({"load": {"root": str(tmp_path)}, "kafka": {"bootstrap.servers": "127.0.0.1:1"}}))
    done = lag(config)
    assert done.returncode == 1
    assert [line for line in done.stderr.splitlines() if not line.startswith("%")] == done.stderr.splitlines()[-1:]
    assert "kafka" in done.stderr


def test_without_a_configuration_it_says_where_it_looked(tmp_path: Path) -> None:
    command = [*forks.PREFIX, "lag", "--data", str(tmp_path)]
    done = forks.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert str(tmp_path / "etc" / "load.yaml") in done.stderr


def test_it_watches_until_it_is_told_to_stop(pipeline: Pipeline) -> None:
    pipeline.create_topic("watched")
    config = pipeline.loader(topics=["watched"]).config_file
    command = [
        sys.executable,
        "-m",
        "headrace",
        "lag",
        "--config",
        str(config),
        "--format",
        "json",
        "--watch",
        "0.05",
        "watched",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        ends = [json.loads(watching.stdout.readline())["end_offset"]]
        pipeline.produce("watched", [b"1", b"2"])
        while ends[-1] != 2:
            ends.append(json.loads(watching.stdout.readline())["end_offset"])
        watching.send_signal(2)
        watching.stdout.read()
    assert ends[0] == 0
    assert watching.returncode == 0


@pytest.mark.slow
def test_apache_kafka_is_asked_in_the_same_way(tmp_path: Path, missing: Callable[[str, str], NoReturn]) -> None:
    if not is_installed():
        missing("kafka", "run make peers")
    with ApacheKafka(tmp_path, log_retention_check_interval_ms="200", log_initial_task_delay_ms="500") as kafka:
        admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
        kept, taken = {"retention.ms": str(HOUR_MS)}, {"segment.bytes": "1048576", "retention.bytes": "1048576"}
        topics = [NewTopic("kept", 1, 1, config=kept), NewTopic("taken", 1, 1, config=taken)]
        for future in admin.create_topics(topics).values():
            future.result(30)
        producer = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 5})
        old_ms = int(time.time() * 1000) - 600_000
        producer.produce("kept", b"old", timestamp=old_ms)
        for n in range(40):
            producer.produce("kept", b"%d" % n)
        producer.produce("taken", b"landed")
        producer.flush(30)
        sections = {"load": {"root": str(tmp_path / "landed")}, "kafka": {"bootstrap.servers": kafka.bootstrap}}
        loader = Part("load", tmp_path, sections, "--once", "--set", "load.topics=[taken]").start(wait=False)
        assert loader.wait(60) == 0, loader.log_tail()
        for _ in range(40):
            for _ in range(10):
                producer.produce("taken", b"x" * 10_000)
            producer.flush(30)
        config = loader.config_file
        deadline = time.monotonic() + 30
        while (found := rows(config))["taken", 0]["seconds_until_retention"] != 0:
            assert time.monotonic() < deadline, found
        assert (found["taken", 0]["landed_offset"], found["taken", 0]["lag_offsets"]) == (1, 400)
        row = found["kept", 0]
        assert (row["landed_offset"], row["end_offset"], row["lag_offsets"], row["last_commit_ms"]) == (0, 41, 41, None)
        assert row["lag_seconds"] == pytest.approx((row["at_ms"] - old_ms) / 1000, abs=2)
        assert row["seconds_until_retention"] == pytest.approx(3600 - row["lag_seconds"], abs=2)


def metrics_of(part: Part) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{part.ports['http']}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def wait_for_metrics(part: Part, holds: Callable[[dict[str, float]], bool]) -> dict[str, float]:
    deadline = time.monotonic() + 30
    while True:
        found = metrics_of(part)
        if holds(found):
            return found
        assert time.monotonic() < deadline, {name: value for name, value in found.items() if name.startswith("headrace_load")}
        time.sleep(0.1)


@pytest.mark.slow
def test_a_running_loader_tells_prometheus_what_has_not_landed_and_what_is_lost(pipeline: Pipeline) -> None:
    pipeline.create_topic("told", segment_bytes="20000", retention_bytes="40000", retention_ms=str(HOUR_MS))
    pipeline.produce("told", (b"x" * 100 for _ in range(100)))
    pipeline.load_once(topics=["told"])
    for _ in range(12):
        pipeline.produce("told", (b"y" * 1000 for _ in range(20)))
    deadline = time.monotonic() + 30
    while rows(pipeline.parts[-1].config_file, "told")["told", 0]["seconds_until_retention"] != 0:
        assert time.monotonic() < deadline
    loader = pipeline.loader(topics=["told"], http="127.0.0.1:0", rotate={"rows": 1000}).start()
    labels = '{partition="0",topic="told"}'
    held = wait_for_metrics(loader, lambda found: f"headrace_load_seconds_until_retention{labels}" in found)
    assert held[f"headrace_load_landed_offset{labels}"] == 100
    assert held[f"headrace_load_lag_offsets{labels}"] == 240
    assert held[f"headrace_load_seconds_until_retention{labels}"] == 0
    assert held['headrace_load_lost_offsets_total{topic="told"}'] == 0
    pipeline.produce("told", (b"z" for _ in range(1000)))
    after = wait_for_metrics(loader, lambda found: found[f"headrace_load_landed_offset{labels}"] > 340)
    landed = after[f"headrace_load_landed_offset{labels}"]
    lost = after['headrace_load_lost_offsets_total{topic="told"}']
    assert 0 < lost < 240
    assert after['headrace_load_rows_total{topic="told"}'] == landed - 100 - lost
    assert after['headrace_load_bytes_total{topic="told"}'] < after['headrace_load_file_bytes{topic="told"}']
    assert after['headrace_load_files{topic="told"}'] == 2
    assert time.time() - after['headrace_load_last_commit_timestamp_seconds{topic="told"}'] < 60
    with urllib.request.urlopen(f"http://127.0.0.1:{loader.ports['http']}/readyz", timeout=10) as answer:
        assert answer.status == 200
    said = [json.loads(line) for line in loader.log_file.read_text().splitlines() if '"level": "error"' in line]
    assert [line["msg"] for line in said if line["topic"] == "told"] == [
        f"retention overtook landing: offsets 100 to {100 + lost:.0f} are lost"
    ]
    assert loader.stop() == 0

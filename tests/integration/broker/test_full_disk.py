"""A broker whose disk has no byte left: it starts, reads go on, and deletion and retention make room. On a small tmpfs."""

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from headrace.process import run_file
from tests.integration.broker.requests import (
    DELETE_TOPICS,
    batch,
    create_topic,
    fetch,
    metadata,
    new_producer_id,
    produce,
    values,
)
from tests.integration.groups.wire_client import WireClient
from tests.processes import Part, broker

STORAGE_ERROR = 56
CONTENT = os.urandom(900_000)


@pytest.fixture
def small_disk(tmp_path: Path, missing: Callable[[str, str], NoReturn]) -> Iterator[Path]:
    """24 MiB."""
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(path)], capture_output=True, check=False)
    if mounted.returncode:
        missing("mount", "run the tests where a tmpfs may be mounted, as root")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def fill(disk: Path) -> None:
    """Leave no byte."""
    with (disk / "filler").open("ab", buffering=0) as file, contextlib.suppress(OSError):
        for piece in (1 << 16, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"x" * piece)
    assert os.statvfs(disk).f_bavail == 0


def on(disk: Path, directory: Path) -> Part:
    """A broker that looks at retention twice a second and removes at once."""
    return broker(
        directory,
        log_dirs=str(disk / "log"),
        log_dirs_free_bytes_min=1 << 20,
        log_segment_bytes=1 << 20,
        log_retention_check_interval_ms=500,
        log_segment_delete_delay_ms=0,
    )


def wire(part: Part) -> WireClient:
    return WireClient(part.ports["kafka"])


def until_produce_is_taken(client: WireClient, topic: str) -> None:
    deadline = time.monotonic() + 20
    while produce(client, topic, batch(b"again")).error_code != 0:
        assert time.monotonic() < deadline, "no room was made"
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("stop", ["clean", "kill -9", "kill -9, and indexes gone"])
def test_on_a_full_disk_a_broker_starts_and_reads_and_a_deletion_makes_room(
    small_disk: Path, tmp_path: Path, stop: str
) -> None:
    part = on(small_disk, tmp_path).start()
    with wire(part) as client:
        for name in ("kept", "doomed"):
            create_topic(client, name)
            for _ in range(5):
                assert produce(client, name, batch(CONTENT)).error_code == 0
    (part.stop if stop == "clean" else part.kill)()
    fill(small_disk)
    if stop.endswith("gone"):
        for index in small_disk.glob("log/kept-0/*index"):
            index.unlink()
        fill(small_disk)
    with part, wire(part) as client:
        assert produce(client, "kept", batch(b"no")).error_code == STORAGE_ERROR
        assert [fetch(client, "kept", offset).error_code for offset in range(5)] == [0] * 5, part.log_tail()
        assert [values(fetch(client, "kept", offset)) for offset in range(5)] == [[CONTENT]] * 5
        body = {"topics": [{"name": "doomed", "topic_id": None}], "timeout": 9000}
        assert client.call(DELETE_TOPICS, 6, body).responses[0].error_code == 0
        until_produce_is_taken(client, "kept")
        assert values(fetch(client, "kept", 5)) == [b"again"]
    assert (small_disk / "log" / ".kafka_cleanshutdown").exists()
    with part, wire(part) as client:
        assert metadata(client, "doomed", create=False).topics[0].error_code == 3
        assert fetch(client, "kept", 5).error_code == 0


def test_retention_makes_room_on_a_disk_that_was_full_at_the_start(small_disk: Path, tmp_path: Path) -> None:
    part = on(small_disk, tmp_path).start()
    with wire(part) as client:
        create_topic(client, "t", retention_bytes="3000000")
        for _ in range(3):
            assert produce(client, "t", batch(CONTENT)).error_code == 0
        part.kill()
    fill(small_disk)
    with part, wire(part) as client:
        assert produce(client, "t", batch(b"no")).error_code == STORAGE_ERROR
        alter = [{"name": "retention.bytes", "config_operation": 0, "value": "1000000"}]
        body = {"resources": [{"resource_type": 2, "resource_name": "t", "configs": alter}], "validate_only": False}
        assert client.call(44, 1, body).responses[0].error_code == 0
        until_produce_is_taken(client, "t")


def test_a_store_without_its_reserve_is_read_on_a_full_disk(small_disk: Path, tmp_path: Path) -> None:
    part = on(small_disk, tmp_path)
    with part, wire(part) as client:
        create_topic(client, "t")
        produce(client, "t", batch(b"a"))
        first = new_producer_id(client)
    (small_disk / "log" / "coordination.db-reserve").unlink()
    fill(small_disk)
    with part, wire(part) as client:
        assert values(fetch(client, "t", 0)) == [b"a"]
        (small_disk / "filler").unlink()
        until_produce_is_taken(client, "t")
        assert new_producer_id(client) > first


def test_without_room_for_its_run_file_a_part_goes_on(small_disk: Path) -> None:
    fill(small_disk)
    with run_file(small_disk / "run" / "part.json", {"kafka": 9}):
        pass
    assert not list(small_disk.glob("run/*"))

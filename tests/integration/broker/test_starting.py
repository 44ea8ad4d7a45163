"""How a broker starts: on several log directories, on what a crash has left, in worker processes where that is worth it."""

import asyncio
import json
import os
import re
import shutil
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

from headrace.broker.log.claims import claim_directories
from headrace.broker.log.directories import LogDirectories
from headrace.broker.log.directory import LogDirectoryConfig
from headrace.broker.log.disk import RealDisk
from headrace.broker.log.record import Record, build_batch, records
from headrace.broker.starting import Progress, bar, open_logs
from tests.integration.broker.requests import batch, create_topic, fetch, metadata, produce, values
from tests.integration.groups.wire_client import WireClient
from tests.processes import Part, broker

LEADER_NOT_AVAILABLE, STORAGE_ERROR, LIST_OFFSETS, FIND_COORDINATOR = 5, 56, 2, 10
CONFIG = LogDirectoryConfig(node_id=7, cluster_id="c")
NOW_MS = 1_700_000_000_000
MIB = 1 << 20


def crashed(path: Path, copy: Path, *, partitions: int, batches: int) -> int:
    """A directory as kill -9 leaves it, with batches of 1 MiB after the recovery point; returns their bytes."""
    logs = LogDirectories.open(RealDisk(), [str(path)], CONFIG, NOW_MS)
    written = build_batch([Record(None, b"x" * MIB, NOW_MS)], producer_id=3, producer_epoch=0, base_sequence=0)
    for partition in range(partitions):
        log = logs.create("t", partition, UUID(int=5), {"max.message.bytes": str(2 * MIB)})
        for sequence in range(batches):
            content = [Record(None, b"%d" % sequence + b"x" * MIB, NOW_MS)]
            written = build_batch(content, producer_id=3, producer_epoch=0, base_sequence=sequence)
            assert log.append(written, now_ms=NOW_MS).error == 0
    shutil.copytree(path, copy)
    logs.close(NOW_MS)
    return partitions * batches * len(written)


def opened(path: Path, progress: Progress, processes: int | None = 2) -> LogDirectories:
    claims = claim_directories(RealDisk(), [str(path)], CONFIG.node_id)
    return asyncio.run(
        open_logs(RealDisk(), claims, CONFIG, NOW_MS, overrides={}, deleted=(), processes=processes, progress=progress)
    )


def test_after_a_crash_logs_are_scanned_in_processes_and_all_is_there(tmp_path: Path) -> None:
    size = crashed(tmp_path / "logs", tmp_path / "copy", partitions=4, batches=8)
    torn = tmp_path / "copy" / "t-2" / "00000000000000000000.log"
    torn.write_bytes(torn.read_bytes()[:-5])
    progress = Progress()
    logs = opened(tmp_path / "copy", progress)
    assert [log.log_end_offset for log in logs.all()] == [8, 8, 7, 8]
    for log in logs.all():
        assert [written.last_sequence for written in log.producer_batches(3)] == list(range(log.log_end_offset))[-5:]
        (last,) = records(log.read(log.log_end_offset - 1, 1).records)
        assert (last.value or b"").startswith(b"%d" % (log.log_end_offset - 1))
    assert (progress.logs_done, progress.logs, progress.is_done) == (4, 4, True)
    assert progress.bytes_done == progress.bytes
    assert size - 10 < progress.bytes <= size
    again = logs.get("t", 1)
    assert again is not None
    assert again.append(build_batch([Record(None, b"more", NOW_MS)]), now_ms=NOW_MS).base_offset == 8
    logs.close(NOW_MS)
    assert (tmp_path / "copy" / ".kafka_cleanshutdown").exists()


def workers() -> list[int]:
    """The processes of this one that load logs, or are about to."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    commands = {int(pid): Path(f"/proc/{pid}/cmdline") for pid in children}
    return [pid for pid, command in commands.items() if b"spawn_main" in command.read_bytes()]


def test_kill_9_of_a_process_that_loads_logs_lets_the_broker_load_them_itself(tmp_path: Path) -> None:
    crashed(tmp_path / "logs", tmp_path / "copy", partitions=4, batches=8)
    killed: list[int] = []
    is_open = threading.Event()

    def kill_the_first() -> None:
        while not killed and not is_open.wait(0.01):
            for pid in workers()[:1]:
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

    killer = threading.Thread(target=kill_the_first)
    killer.start()
    progress = Progress()
    logs = opened(tmp_path / "copy", progress)
    is_open.set()
    killer.join()
    assert len(killed) == 1
    assert [log.log_end_offset for log in logs.all()] == [8] * 4
    assert logs.is_whole
    assert progress.logs_done == progress.logs == 4
    logs.close(NOW_MS)


def test_a_log_that_a_process_cannot_load_is_offline_alone(tmp_path: Path) -> None:
    crashed(tmp_path / "logs", tmp_path / "copy", partitions=4, batches=8)
    epochs = tmp_path / "copy" / "t-1" / "leader-epoch-checkpoint"
    epochs.unlink(missing_ok=True)
    epochs.mkdir()
    logs = opened(tmp_path / "copy", Progress())
    assert [log.partition for log in logs.all()] == [0, 2, 3]
    assert not logs.is_whole


def test_one_line_says_how_far_the_start_is() -> None:
    progress = Progress(logs=40, logs_done=12, bytes=256 * MIB, bytes_done=64 * MIB, begun_s=100.0)
    assert bar(progress, 101.0) == "[#######.......................] 12/40 logs, 64/256 MiB scanned, about 3 s left"
    assert bar(Progress(logs=10, begun_s=5.0), 6.0) == "[..............................] 0/10 logs"


def wire(part: Part) -> WireClient:
    return WireClient(part.ports["kafka"])


def errors(client: WireClient, partitions: Sequence[int]) -> list[int]:
    return [produce(client, "t", batch(b"p%d" % at), partition=at).error_code for at in partitions]


def list_offsets_error(client: WireClient, partition: int) -> int:
    asked = {"partition_index": partition, "current_leader_epoch": -1, "timestamp": -1}
    body = {"replica_id": -1, "isolation_level": 0, "topics": [{"name": "t", "partitions": [asked]}]}
    return int(client.call(LIST_OFFSETS, 4, body).topics[0].partitions[0].error_code)


def test_a_directory_that_is_away_takes_its_partitions_offline_and_brings_them_back(tmp_path: Path) -> None:
    first, second, away = tmp_path / "first", tmp_path / "second", tmp_path / "away"
    part = broker(tmp_path, log_dirs=f"{first},{second}", offsets_topic_num_partitions=2)
    with part, wire(part) as client:
        create_topic(client, "t", 4)
        assert errors(client, range(4)) == [0, 0, 0, 0]
        client.call(FIND_COORDINATOR, 3, {"key": "g", "key_type": 0})
    assert sorted(each.name for each in second.glob("t-*")) == ["t-1", "t-3"]
    second.rename(away)
    second.write_text("not a directory: nothing can be mounted here")
    with part, wire(part) as client:
        assert "LOG DIRECTORY OFFLINE" in part.log()
        partitions = metadata(client, "t", create=False).topics[0].partitions
        leader, none = (0, 1, (1,), (1,), ()), (LEADER_NOT_AVAILABLE, -1, (1,), (1,), (1,))
        assert [
            (each.error_code, each.leader_id, each.replica_nodes, each.isr_nodes, each.offline_replicas) for each in partitions
        ] == [leader, none, leader, none]
        assert errors(client, range(4)) == [0, STORAGE_ERROR, 0, STORAGE_ERROR]
        assert [list_offsets_error(client, at) for at in range(4)] == [0, STORAGE_ERROR, 0, STORAGE_ERROR]
        assert fetch(client, "t", 0).error_code == 0
        found = [client.call(FIND_COORDINATOR, 3, {"key": key, "key_type": 0}).error_code for key in "gh"]
        assert sorted(found) == [0, 15], "the groups of one half are not available, rather than without offsets"
        create_topic(client, "new", 2)
    assert len(list(first.glob("new-*"))) == 2
    second.unlink()
    (tmp_path / "elsewhere").mkdir()
    away.rename(tmp_path / "elsewhere" / "second")
    settings = ["--set", f"log.dirs={tmp_path / 'elsewhere' / 'second'},{first}"]
    moved = Part("broker", tmp_path, json_config(part), *settings)
    with moved, wire(moved) as client:
        assert errors(client, range(4)) == [0, 0, 0, 0]
        assert values(fetch(client, "t", 0)) == [b"p0", b"p0", b"p0"]
        found = [client.call(FIND_COORDINATOR, 3, {"key": key, "key_type": 0}).error_code for key in "gh"]
        assert found == [0, 0]


def json_config(part: Part) -> dict[str, object]:
    import yaml

    return dict(yaml.safe_load(part.config_file.read_text()))


def test_a_pipe_or_a_link_to_nowhere_in_the_place_of_a_segment_takes_its_partition_offline(tmp_path: Path) -> None:
    part = broker(tmp_path)
    with part, wire(part) as client:
        create_topic(client, "t", 4)
        assert errors(client, range(4)) == [0, 0, 0, 0]
    segments = [tmp_path / "broker" / f"t-{at}" / "00000000000000000000.log" for at in range(3)]
    for segment in segments:
        segment.rename(segment.with_name("away"))
    os.mkfifo(segments[0])
    segments[1].symlink_to("gone")
    segments[2].mkdir()
    (segments[2].parent / "partition.metadata").unlink()
    with part, wire(part) as client:
        assert part.log_tail().count("PARTITION OFFLINE: it cannot be loaded") == 3
        assert errors(client, range(4)) == [STORAGE_ERROR, STORAGE_ERROR, STORAGE_ERROR, 0]


def test_without_the_directory_that_holds_the_store_a_start_is_refused(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    part = broker(tmp_path, log_dirs=f"{first},{second}")
    with part:
        pass
    first.rename(tmp_path / "away")
    first.write_text("")
    part.start(wait=False)
    assert part.wait() == 2
    assert "coordination.db should be in it" in part.log()


def started_with(part: Part, *log_dirs: Path, **keys: str) -> Part:
    """The same broker, with other directories."""
    config = {**json_config(part), "log.dirs": ",".join(map(str, log_dirs)), **keys}
    return Part("broker", part.directory, config)


def test_a_directory_taken_off_the_list_is_missed_until_it_is_back_or_given_up(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    part = broker(tmp_path, log_dirs=f"{first},{second}")
    with part, wire(part) as client:
        create_topic(client, "t", 2)
        assert errors(client, range(2)) == [0, 0]
    directory_id = re.findall(r"directory.id=(\S+)", (second / "meta.properties").read_text())[0]
    with (off := started_with(part, first)), wire(off) as client:
        assert directory_id in off.log()
        assert errors(client, range(2)) == [0, STORAGE_ERROR]
    with (back := started_with(part, second, first)), wire(back) as client:
        assert values(fetch(client, "t", 0)) == [b"p0", b"p0"]
        assert errors(client, range(2)) == [0, 0]
    with (given_up := started_with(part, first, **{"log.dirs.given.up": directory_id})), wire(given_up) as client:
        assert errors(client, range(2)) == [0, 0]
    with (forgotten := started_with(part, first)), wire(forgotten) as client:
        assert errors(client, range(2)) == [0, 0]


def test_where_a_disk_is_not_mounted_its_empty_directory_is_not_taken_for_it(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    part = broker(tmp_path, log_dirs=f"{first},{second}")
    with part, wire(part) as client:
        create_topic(client, "t", 2)
        assert errors(client, range(2)) == [0, 0]
    second.rename(tmp_path / "disk")
    second.mkdir()
    with part, wire(part) as client:
        assert errors(client, range(2)) == [0, STORAGE_ERROR]
        create_topic(client, "new", 2)
    assert len(list(second.glob("new-*"))) >= 1
    shutil.rmtree(second)
    (tmp_path / "disk").rename(second)
    with part, wire(part) as client:
        assert errors(client, range(2)) == [0, 0]
        assert len([at for at in range(2) if produce(client, "new", batch(b"x"), partition=at).error_code]) >= 1


def test_a_directory_that_held_nothing_is_forgotten(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    part = broker(tmp_path, log_dirs=f"{first},{second}")
    with part, wire(part) as client:
        create_topic(client, "t", 1)
    for times_said in (1, 1):
        with (off := started_with(part, first)), wire(off) as client:
            assert errors(client, range(1)) == [0]
            assert off.log_file.read_text().count("log directories forgotten") == times_said


def test_kill_9_while_logs_are_loaded_is_harmless(tmp_path: Path) -> None:
    data = tmp_path / "broker"
    part = broker(tmp_path, message_max_bytes=2 * MIB, log_retention_hours=-1)
    crashed_size = crashed(tmp_path / "logs", data, partitions=4, batches=10)
    (data / "meta.properties").write_text("version=1\ncluster.id=c\nnode.id=1\n")
    assert crashed_size > 32 * MIB
    for after_s in (0.1, 0.2, 0.4, 0.6):
        part.start(wait=False)
        assert part.process is not None
        try:
            part.process.wait(after_s)
        except Exception:  # noqa: BLE001 - it runs still, as it should
            part.kill()
    with part, wire(part) as client:
        ends = [produce(client, "t", batch(b"new"), partition=at).base_offset for at in range(4)]
        assert ends == [10, 10, 10, 10]
        lines = [json.loads(line) for line in part.log_file.read_text().splitlines() if line.startswith("{")]
        assert not [line for line in lines if line["level"] in ("error", "critical")]

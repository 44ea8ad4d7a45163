"""Loaders that die, race and stop: every record lands once."""

import random
import time
from collections import Counter
from pathlib import Path

import pytest

from headrace.sinks.table import reader
from tests.integration.sinks.pipeline import Pipeline, records_of


def counted(pipeline: Pipeline, topic: str) -> Counter[tuple[int, int]]:
    return Counter((row["_partition"], row["_offset"]) for row in pipeline.rows(topic))


@pytest.mark.slow
def test_a_loader_killed_again_and_again_loses_and_repeats_nothing(tmp_path: Path) -> None:
    rng = random.Random(17)
    with Pipeline(tmp_path) as pipeline:
        pipeline.create_topic("blobs", 3)
        loader = pipeline.loader(rotate={"age": "100ms", "rows": 300})
        sent: Counter[tuple[int, int]] = Counter()
        for _ in range(8):
            for partition in range(3):
                first = sum(1 for p, _ in sent if p == partition)
                count = pipeline.produce("blobs", (b"%d" % n for n in range(400)), partition=partition)
                sent.update((partition, first + n) for n in range(count))
            loader.start()
            time.sleep(rng.uniform(0.1, 1.6))
            loader.kill()
        pipeline.load_once()
        assert counted(pipeline, "blobs") == sent
        pipeline.assert_sound(was_killed=True)


@pytest.mark.slow
def test_loaders_of_two_groups_on_one_root_fence_each_other_and_land_everything_once(tmp_path: Path) -> None:
    with Pipeline(tmp_path) as pipeline:
        pipeline.create_topic("blobs", 2)
        racers = [
            pipeline.loader(name=name, group=name, rotate={"age": "150ms", "rows": 500}).start() for name in ("one", "two")
        ]
        for burst in range(8):
            pipeline.produce("blobs", (b"%d/%d" % (burst, n) for n in range(300)), partition=burst % 2)
            time.sleep(0.25)
        pipeline.wait_for_rows("blobs", 2400)
        assert [racer.stop() for racer in racers] == [0, 0]
        assert counted(pipeline, "blobs") == Counter((p, n) for p in range(2) for n in range(1200))
        dropped = ("attempt dropped", "another loader has landed since")
        assert any(words in racer.log_file.read_text() for racer in racers for words in dropped)
        pipeline.assert_sound()


@pytest.mark.slow
def test_sigterm_commits_what_was_read_and_a_second_run_adds_nothing(tmp_path: Path) -> None:
    with Pipeline(tmp_path) as pipeline:
        pipeline.produce("blobs", (b"%d" % n for n in range(1000)))
        loader = pipeline.loader(http="127.0.0.1:0").start()
        assert loader.ports["http"] > 0
        while '"topic": "blobs"' not in loader.log():
            time.sleep(0.02)
        time.sleep(1.5)  # the default age is ten minutes: nothing is due yet
        assert "blobs" not in reader.tables(pipeline.root)
        assert loader.stop() == 0
        assert counted(pipeline, "blobs") == Counter((0, n) for n in range(1000))
        assert not loader.run_file.exists()
        pipeline.load_once()
        assert len(records_of(pipeline.root, "blobs")) == 1
        pipeline.assert_sound()


@pytest.mark.slow
def test_sigterm_without_a_broker_ends_soon_and_leaves_nothing_staged(tmp_path: Path) -> None:
    with Pipeline(tmp_path) as pipeline:
        pipeline.produce("blobs", (b"%d" % n for n in range(1000)))
        loader = pipeline.loader().start()
        while '"topic": "blobs"' not in loader.log():
            time.sleep(0.02)
        time.sleep(1.0)
        pipeline.broker.kill()
        began = time.monotonic()
        assert loader.stop() == 0
        assert time.monotonic() - began < 9  # `headrace up` waits ten seconds for what its forerunner left
        assert not [file for file in pipeline.root.rglob("*") if file.is_file()]
        pipeline.broker.start()
        pipeline.load_once()
        assert counted(pipeline, "blobs") == Counter((0, n) for n in range(1000))
        pipeline.assert_sound()


@pytest.mark.slow
def test_runs_from_cron_that_overlap_land_everything_once_and_all_end_well(tmp_path: Path) -> None:
    with Pipeline(tmp_path) as pipeline:
        pipeline.create_topic("blobs", 2)
        for partition in range(2):
            pipeline.produce("blobs", (b"%d" % n for n in range(2000)), partition=partition)
        runs = [pipeline.loader("--once", name=f"run-{number}").start(wait=False) for number in range(3)]
        assert [run.wait(60) for run in runs] == [0, 0, 0]
        assert counted(pipeline, "blobs") == Counter((p, n) for p in range(2) for n in range(2000))
        pipeline.assert_sound()


@pytest.mark.slow
def test_many_topics_are_opened_together_and_a_run_that_finds_nothing_new_adds_nothing(tmp_path: Path) -> None:
    with Pipeline(tmp_path) as pipeline:
        topics = [f"blobs-{number}" for number in range(12)]
        for number, topic in enumerate(topics):
            pipeline.create_topic(topic, 1 + number % 2)
            pipeline.produce(topic, [b"one", b"two"])
        for _ in range(2):
            pipeline.load_once()
            assert [len(records_of(pipeline.root, topic)) for topic in topics] == [1] * len(topics)
        assert [counted(pipeline, topic) for topic in topics] == [Counter([(0, 0), (0, 1)])] * len(topics)
        pipeline.produce(topics[7], [b"three"], partition=1)
        pipeline.load_once()
        assert counted(pipeline, topics[7]) == Counter([(0, 0), (0, 1), (1, 0)])


@pytest.mark.slow
def test_a_loader_that_finds_files_of_a_dead_one_moves_them_into_place(tmp_path: Path) -> None:
    with Pipeline(tmp_path) as pipeline:
        pipeline.produce("blobs", [b"one", b"two"])
        pipeline.load_once()
        (file,) = reader.snapshot(pipeline.root, "blobs").files
        staged = pipeline.root / "blobs" / "_headrace" / "staging" / file.name
        staged.parent.mkdir(parents=True)
        Path(file.path).rename(staged)  # as if it had died between its put and the move
        assert reader.snapshot(pipeline.root, "blobs").files[0].path == str(staged)
        pipeline.load_once()
        assert reader.snapshot(pipeline.root, "blobs").files[0].path == file.path
        pipeline.assert_sound()

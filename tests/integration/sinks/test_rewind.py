"""Rewinding real tables: rows are landed again from where they are told, once, and loaders and readers go on by themselves."""

import json
import random
import time
from collections.abc import Iterator
from threading import Event

import pyarrow.parquet as pq
import pytest

from headrace.audit import WINDOW_MS, window_start_ms
from headrace.cli import main
from headrace.clock import SystemClock
from headrace.errors import UsageError
from headrace.schemas.framing import frame
from headrace.sinks import rewind_command
from headrace.sinks.check import check_root
from headrace.sinks.compaction.compact import compact_table
from headrace.sinks.compaction.plan import Limits
from headrace.sinks.config import LoadConfig
from headrace.sinks.loader import Loader
from headrace.sinks.stores.local import LocalStore
from headrace.sinks.table.commit import read_head
from headrace.sinks.table.fold import Fold
from headrace.sinks.table.reader import locate, snapshot
from headrace.sinks.table.store import carry_out
from tests.integration.sinks.pipeline import START_MS, Pipeline, lines


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    with Pipeline(tmp_path_factory.mktemp("rewind")) as running:
        yield running


def fold(pipeline: Pipeline, topic: str) -> Fold:
    return carry_out(read_head(), LocalStore(pipeline.root / topic))


def offsets(pipeline: Pipeline, topic: str) -> list[tuple[int, int]]:
    found = []
    for file in snapshot(pipeline.root, topic).files:
        rows = pq.ParquetFile(locate(pipeline.root, topic, file.name)).read(["_partition", "_offset"])
        found += list(zip(rows["_partition"].to_pylist(), rows["_offset"].to_pylist(), strict=True))
    return sorted(found)


def config(pipeline: Pipeline, topic: str, **more: str) -> LoadConfig:
    load = {"root": str(pipeline.root), "topics": [topic], **more}
    kafka = {"bootstrap.servers": pipeline.bootstrap}
    return LoadConfig.model_validate({"load": load, "kafka": kafka, "registry": pipeline.registry_url})


def rewind(pipeline: Pipeline, topic: str, to: str | None) -> int:
    return rewind_command.rewind(config(pipeline, topic), topic, to, Event())


def is_sound(pipeline: Pipeline, topic: str) -> None:
    (report,) = [report for report in check_root(str(pipeline.root), deep=True) if report.topic == topic]
    assert report.broken == []
    placed = {path.relative_to(pipeline.root / topic) for path in (pipeline.root / topic).glob("dt=*/hour=*/*")}
    assert {str(path) for path in placed} == {file.name for file in snapshot(pipeline.root, topic).files}


def land(pipeline: Pipeline, topic: str) -> None:
    """Two loads of two partitions each, over three hours, and what cannot be decoded in each."""
    pipeline.create_topic(topic, partitions=2)
    for start in (0, 40):
        for partition in (0, 1):
            stream = f"{partition}9999999-8888-7777-6666-555555555555"
            pipeline.ship(topic, lines(40, stream=stream, start=start, step_ms=200_000), partition=partition)
        pipeline.producer.produce(topic, b"\0\0\0\0\x63no such schema", partition=0)
        pipeline.producer.flush()
        Loader(config(pipeline, topic), SystemClock(), once=True, landed=str, rewind=None).run(Event())


@pytest.mark.parametrize(("to", "compacted"), [("0:20,1:33", True), ("1:50", False), ("beginning", False)])
def test_rows_are_landed_again_from_the_offsets_told_and_nothing_is_lost_or_repeated(
    pipeline: Pipeline,
    to: str,
    compacted: bool,  # a parameter of the test
) -> None:
    topic = f"again-{to.replace(':', '.').replace(',', '-')}-{compacted}"
    land(pipeline, topic)
    if compacted:
        compact_table(pipeline.root, topic, Limits(), SystemClock(), progress=int)
    before, rows = fold(pipeline, topic), offsets(pipeline, topic)
    assert rewind(pipeline, topic, to) == 0
    after = fold(pipeline, topic)
    assert (before.generation, after.generation) == (1, 2)
    assert offsets(pipeline, topic) == rows
    assert {key: end.offset for key, end in after.ends.items()} == {key: end.offset for key, end in before.ends.items()}
    assert after.audit.windows == before.audit.windows
    assert {key: list(stream.landed) for key, stream in after.streams.items()} == {
        key: list(stream.landed) for key, stream in before.streams.items()
    }
    assert sum(each.count for each in after.quarantined.values()) == sum(each.count for each in before.quarantined.values())
    is_sound(pipeline, topic)


def test_a_loader_that_runs_meanwhile_goes_on_with_the_next_generation(pipeline: Pipeline) -> None:
    topic = "running"
    land(pipeline, topic)
    loader = pipeline.loader(name="running", topics=[topic], rotate={"age": "1s"}).start()
    assert rewind(pipeline, topic, "beginning") == 0
    pipeline.ship(topic, lines(25, stream="29999999-8888-7777-6666-555555555555"), partition=1)
    deadline = time.monotonic() + 30
    while fold(pipeline, topic).end(0, 1) < 105 and time.monotonic() < deadline:
        time.sleep(0.1)
    loader.stop()
    after = fold(pipeline, topic)
    assert (after.generation, after.end(0, 1)) == (2, 105)
    assert len(offsets(pipeline, topic)) == len(set(offsets(pipeline, topic))) == 80 + 105
    is_sound(pipeline, topic)


def test_a_rewind_that_is_killed_again_and_again_goes_on_where_it_was_and_the_table_is_read_meanwhile(
    pipeline: Pipeline,
) -> None:
    topic, rng = "killed", random.Random(37)
    land(pipeline, topic)
    rows = offsets(pipeline, topic)
    for kills in range(4):
        to = ("--to", "0:20") if (before := fold(pipeline, topic)).fork is None or kills == 2 else ()
        part = pipeline.loader("--rewind", topic, *to, name="killed", topics=[topic]).start(wait=False)
        deadline = time.monotonic() + 30
        while fold(pipeline, topic).seq == before.seq and time.monotonic() < deadline:  # its fork, or, going on, the close
            time.sleep(0.002)
            if not to and rng.random() < 0.01:
                break
        time.sleep(rng.uniform(0, 0.05))
        part.kill()
        assert offsets(pipeline, topic) == rows
    generation = (left := fold(pipeline, topic)).generation
    if left.fork is not None and not left.is_closed:
        assert rewind(pipeline, topic, None) == 0
        generation = left.fork.next
    assert (fold(pipeline, topic).generation, offsets(pipeline, topic)) == (generation, rows)
    Loader(config(pipeline, topic), SystemClock(), once=True, landed=str, rewind=None).run(Event())  # moves what it finds
    is_sound(pipeline, topic)


def test_what_cannot_be_rewound_is_refused_before_anything_is_done(pipeline: Pipeline) -> None:
    land(pipeline, "refused")
    head = fold(pipeline, "refused").seq
    for to, said in [
        ("0:999", "nothing of refused has landed from there on"),
        ("7:0", "partition 7 of refused has not landed"),
        ("yesterday", "write a time as"),
        (None, "no rewind of refused is in progress"),
    ]:
        with pytest.raises(UsageError, match=said):
            rewind(pipeline, "refused", to)
    assert fold(pipeline, "refused").seq == head


def test_what_retention_has_taken_is_not_rewound_to(pipeline: Pipeline) -> None:
    from confluent_kafka import TopicPartition

    land(pipeline, "short")
    (future,) = pipeline.admin.delete_records([TopicPartition("short", 0, 30)]).values()
    future.result(30)
    with pytest.raises(UsageError, match="go back to 0:30 or later"):
        rewind(pipeline, "short", "0:20")
    rows = offsets(pipeline, "short")
    assert rewind(pipeline, "short", "1h") == 0  # a time, looked up in Kafka
    assert offsets(pipeline, "short") == rows
    is_sound(pipeline, "short")


def test_of_a_topic_that_was_created_again_only_what_has_landed_since_is_rewound(pipeline: Pipeline) -> None:
    def load() -> None:
        Loader(config(pipeline, "again"), SystemClock(), once=True, landed=str, rewind=None).run(Event())

    pipeline.create_topic("again", partitions=3)
    for partition in range(3):
        pipeline.produce("again", [b'{"n": 1}'] * 10, partition=partition)
    load()
    pipeline.delete_topic("again")
    pipeline.create_topic("again", partitions=2)  # one fewer, and to one of them nothing comes
    pipeline.produce("again", [b'{"n": 2}'] * 5, partition=0)
    with pytest.raises(UsageError, match="has been created again; land it first"):
        rewind(pipeline, "again", "beginning")
    load()
    rows = offsets(pipeline, "again")
    assert len(rows) == 35
    with pytest.raises(UsageError, match="partition 1 of again has not landed"):
        rewind(pipeline, "again", "1:0")
    assert rewind(pipeline, "again", "beginning") == 0
    assert (fold(pipeline, "again").generation, offsets(pipeline, "again")) == (2, rows)
    load()
    is_sound(pipeline, "again")


def land_a_wrong_schema_first(pipeline: Pipeline, topic: str) -> None:
    """Offsets 0 to 9 by a schema that should never have been, 10 to 29 by the right one, which does not go with it."""
    ids = [
        pipeline.client.register(subject, json.dumps({"type": "record", "name": "R", "fields": [{"name": "a", "type": kind}]}))
        for subject, kind in ((f"{topic}-value", "int"), (f"{topic}-right", "string"))
    ]
    pipeline.produce(topic, [frame(ids[0], b"\x02")] * 10 + [frame(ids[1], b"\x02y")] * 20 + [b"poison", None])
    Loader(config(pipeline, topic), SystemClock(), once=True, landed=str, rewind=None).run(Event())


def landed(pipeline: Pipeline, topic: str, *columns: str) -> list[tuple[object, ...]]:
    rows = [row for file in snapshot(pipeline.root, topic).files for row in pq.read_table(file.path).to_pylist()]
    return sorted(tuple(row[name] for name in ("_offset", *columns)) for row in rows)


def quarantined(pipeline: Pipeline, topic: str) -> int:
    return sum(each.count for each in fold(pipeline, topic).quarantined.values())


def test_where_the_first_schema_was_wrong_a_table_is_landed_anew_under_the_columns_of_a_later_record(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    land_a_wrong_schema_first(pipeline, "mended")
    assert (len(landed(pipeline, "mended")), quarantined(pipeline, "mended")) == (10, 22)
    assert main(["quarantine", "list", "mended", "--root", str(pipeline.root)]) == 0
    assert "--rewind mended --to beginning --columns-of" in capsys.readouterr().out
    iceberg = [str(pipeline.root), "--topic", "mended"]
    assert main(["iceberg", "sync", *iceberg]) == 0
    part = pipeline.loader("--rewind", "mended", "--to", "beginning", "--columns-of", "0:15", topics=["mended"])
    assert part.start(wait=False).wait() == 0, part.log_tail()
    assert landed(pipeline, "mended", "a") == [(offset, "y") for offset in range(10, 30)]
    assert quarantined(pipeline, "mended") == 12
    Loader(config(pipeline, "mended"), SystemClock(), once=True, landed=str, rewind=None).run(Event())
    is_sound(pipeline, "mended")
    assert main(["iceberg", "sync", *iceberg]) == 1
    assert "`headrace iceberg drop` it" in capsys.readouterr().out
    assert [main(["iceberg", action, *iceberg]) for action in ("drop", "sync")] == [0, 0]
    assert capsys.readouterr().out.split()[-1] == "20"  # rows


def test_landed_anew_with_incompatible_columns_no_row_is_left_out(pipeline: Pipeline) -> None:
    land_a_wrong_schema_first(pipeline, "aside")
    aside = config(pipeline, "aside", incompatible="columns")
    assert rewind_command.rewind(aside, "aside", "beginning", Event(), columns="0:29") == 0
    old = [(offset, None, 1) for offset in range(10)]
    assert landed(pipeline, "aside", "a", "a__2") == old + [(offset, "y", None) for offset in range(10, 30)]
    assert quarantined(pipeline, "aside") == 2
    is_sound(pipeline, "aside")


def test_columns_are_not_taken_from_what_is_no_record_or_has_none_nor_where_rows_stay(pipeline: Pipeline) -> None:
    land_a_wrong_schema_first(pipeline, "kept")
    head = fold(pipeline, "kept").seq
    for to, columns, said in [
        ("beginning", "0:999", "Kafka has no such record of kept"),
        ("beginning", "0:30", "that record has no columns: not in the registry's framing"),
        ("beginning", "0:31", "that record has no columns: no value"),
        ("beginning", "15", "write PARTITION:OFFSET"),
        ("0:5", "0:15", "rows stay, and with them their columns"),
    ]:
        with pytest.raises(UsageError, match=said):
            rewind_command.rewind(config(pipeline, "kept"), "kept", to, Event(), columns=columns)
    assert fold(pipeline, "kept").seq == head


def own_record(topic: str, pipeline: Pipeline, number: int, **counted: int) -> None:
    """A record under a user's own schema: its headers say which line it is, its columns do not."""
    schema = '{"type": "record", "name": "Order", "fields": [{"name": "id", "type": "int"}]}'
    schema_id = pipeline.client.register(f"{topic}-order", schema)
    named = {
        "agent_id": "a",
        "stream_id": "s",
        "position": 10 * number,
        "since": 10 * number,
        "part": 0,
        "end": 10 * number + 9,
        **counted,
    }
    headers: list[tuple[str, str | bytes | None]] = [(name, str(value)) for name, value in named.items()]
    pipeline.producer.produce(topic, frame(schema_id, bytes([2 * number])), partition=0, headers=headers)


@pytest.mark.parametrize("to", ["0:20", "0:50"])
def test_rows_that_do_not_say_whose_they_are_are_landed_again_beside_rows_that_do(pipeline: Pipeline, to: str) -> None:
    topic = f"own-{to.replace(':', '.')}"
    pipeline.create_topic(topic)
    pipeline.ship(topic, lines(30))
    for number in (*range(30), *range(20, 30)):
        own_record(topic, pipeline, number)
    pipeline.producer.flush()
    Loader(config(pipeline, topic), SystemClock(), once=True, landed=str, rewind=None).run(Event())
    before = offsets(pipeline, topic)
    assert before == [(0, offset) for offset in range(60)]
    assert rewind(pipeline, topic, to) == 0
    assert offsets(pipeline, topic) == before
    is_sound(pipeline, topic)


@pytest.mark.slow
def test_what_a_rewind_takes_from_an_agent_s_sums_is_landed_again_or_compared_no_more(pipeline: Pipeline) -> None:
    pipeline.create_topic("summed")
    for number in range(40):
        own_record("summed", pipeline, number, timestamp=START_MS)
    pipeline.producer.flush()
    Loader(config(pipeline, "summed"), SystemClock(), once=True, landed=str, rewind=None).run(Event())
    landed = fold(pipeline, "summed")
    ((key, total),) = landed.audit.windows.items()
    assert (key, total.count) == (("a", window_start_ms(START_MS)), 40)
    assert rewind(pipeline, "summed", "beginning") == 0
    again = fold(pipeline, "summed")
    assert (again.audit.windows, again.uncounted_until_ms) == (landed.audit.windows, None)
    assert rewind(pipeline, "summed", "0:20") == 0
    assert fold(pipeline, "summed").uncounted_until_ms == window_start_ms(START_MS) + WINDOW_MS
    is_sound(pipeline, "summed")

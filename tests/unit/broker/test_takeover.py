"""Apache Kafka's metadata log as it is read and taken over: once, in Kafka's order, and never by guessing."""

from collections.abc import Sequence
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.broker.log.batch import CONTROL
from headrace.broker.log.cluster_metadata import DIRECTORY, read_cluster_metadata
from headrace.broker.log.record import Record, build_batch
from headrace.broker.takeover import Taken, internal_settings, never_give_again, settle, take_over
from headrace.broker.topic_names import CLUSTER_METADATA_TOPIC, name_fault
from headrace.errors import CorruptError, StorageError, VersionError
from tests.memory_store import MemoryStore
from tests.sim.log.disk import SimDisk
from tests.unit.broker_log.logs import new_disk

PATH = "/data/kafka"
EVENTS, OTHER = UUID(int=0xE), UUID(int=0x0F)
TOPIC, PARTITION, CONFIG, REMOVE, PRODUCER_IDS, BEGIN, END, ABORT = 2, 3, 4, 9, 15, 23, 24, 25


def text(value: str | None) -> bytes:
    return b"\0" if value is None else bytes([len(value.encode()) + 1]) + value.encode()


def message(kind: int, *fields: bytes, version: int = 0, frame: int = 1) -> bytes:
    return bytes([frame, kind, version]) + b"".join(fields) + b"\0"


def topic(name: str, topic_id: UUID, partitions: int = 1) -> list[bytes]:
    numbers = [partition.to_bytes(4, "big") for partition in range(partitions)]
    made = [message(PARTITION, number, topic_id.bytes, b"\1\1\1\1", version=2) for number in numbers]
    return [message(TOPIC, text(name), topic_id.bytes), *made]


def config(name: str, key: str, value: str | None, resource: int = 2) -> bytes:
    return message(CONFIG, bytes([resource]), text(name), text(key), text(value))


def batch(messages: Sequence[bytes], base_offset: int = 0, attributes: int = 0) -> bytes:
    content = [Record(None, each, 1_700_000_000_000) for each in messages]
    return build_batch(content, base_offset=base_offset, attributes=attributes)


def kafka_wrote(log: bytes, snapshots: dict[str, bytes] | None = None, first: int = 0) -> SimDisk:
    disk = new_disk()
    disk.make_directory(f"{PATH}/{DIRECTORY}")
    for name, content in {f"{first:020d}.log": log, **(snapshots or {})}.items():
        disk.open(f"{PATH}/{DIRECTORY}/{name}", create=True).close()
        disk.replace(f"{PATH}/{DIRECTORY}/{name}", content)
    return disk


def taken(*messages: bytes) -> MemoryStore:
    store = MemoryStore()
    take_over(store, kafka_wrote(batch(messages)), [PATH])
    return store


def test_a_topic_comes_with_its_id_partitions_and_last_settings() -> None:
    settings = [
        config("events", "retention.ms", "5"),
        config("events", "retention.ms", "-1"),
        config("events", "segment.ms", "9"),
    ]
    store = taken(*topic("events", EVENTS, 3), *settings, config("events", "segment.ms", None))
    (found,) = store.topics()
    assert (found.name, found.topic_id, found.partitions, found.configs) == ("events", EVENTS, 3, {"retention.ms": "-1"})


def test_settings_that_mean_nothing_here_are_left_out_and_the_others_come() -> None:
    store = taken(
        *topic("events", EVENTS), config("events", "remote.storage.enable", "true"), config("events", "flush.ms", "7")
    )
    assert store.topics()[0].configs == {"flush.ms": "7"}


def test_a_removed_topic_does_not_come_nor_do_its_settings_to_one_of_its_name() -> None:
    store = taken(
        *topic("events", EVENTS), config("events", "retention.ms", "5"), message(REMOVE, EVENTS.bytes), *topic("events", OTHER)
    )
    assert [(each.topic_id, dict(each.configs)) for each in store.topics()] == [(OTHER, {})]


def test_what_a_transaction_of_the_controller_aborted_or_has_not_ended_does_not_count() -> None:
    first, second = topic("events", EVENTS), topic("other", OTHER)
    assert [each.name for each in taken(message(BEGIN), *first, message(END), message(BEGIN), *second).topics()] == ["events"]
    assert [each.name for each in taken(message(BEGIN), *first, message(ABORT), *second).topics()] == ["other"]


def test_the_newest_whole_snapshot_counts_and_the_log_after_it() -> None:
    footer = build_batch([Record(b"\0\0\0\4", b"", 0)], base_offset=1, attributes=CONTROL)
    log = batch([config("events", "retention.ms", "1")], base_offset=7) + batch(
        [config("events", "flush.ms", "2")], base_offset=8
    )
    whole = batch([*topic("events", EVENTS), config("events", "retention.ms", "3")]) + footer
    snapshots = {
        f"{3:020d}-0000000001.checkpoint": batch(topic("old", OTHER)) + footer,
        f"{8:020d}-0000000001.checkpoint": whole,
        f"{9:020d}-0000000001.checkpoint": whole[:-1],
        f"{9:020d}-0000000001.checkpoint.part": b"",
    }
    metadata = read_cluster_metadata(kafka_wrote(log, snapshots, first=7), PATH)
    assert metadata is not None
    assert [(each.name, each.configs) for each in metadata.topics.values()] == [
        ("events", {"retention.ms": "3", "flush.ms": "2"})
    ]
    assert metadata.end_offset == 9


def test_it_is_taken_over_once_and_anew_only_when_kafka_has_run_again() -> None:
    store = MemoryStore()
    log = batch([*topic("events", EVENTS), *topic("other", OTHER), message(PRODUCER_IDS, bytes(12), (5000).to_bytes(8, "big"))])
    assert take_over(store, kafka_wrote(log), [PATH]).topics == {EVENTS, OTHER}
    taken_again = take_over(store, kafka_wrote(log), [PATH])  # a crash came before it was settled
    assert taken_again.topics == {EVENTS, OTHER}
    settle(store, [], taken_again)
    assert store.allocate_producer_ids(1) >= 5000
    store.begin_deletion(OTHER)
    store.finish_deletion(OTHER)
    store.configure_topic(EVENTS, {"retention.ms": "8"})
    assert take_over(store, kafka_wrote(log), [PATH]) == Taken(frozenset(), {})
    assert [(each.topic_id, dict(each.configs)) for each in store.topics()] == [(EVENTS, {"retention.ms": "8"})]
    more = log + batch([config("events", "retention.ms", "9")], base_offset=9)
    take_over(store, kafka_wrote(more), [PATH])
    assert dict(store.topics()[0].configs) == {"retention.ms": "9"}


def test_a_directory_without_metadata_says_nothing() -> None:
    disk = new_disk()
    disk.make_directory(PATH)
    store = MemoryStore()
    assert take_over(store, disk, [PATH]) == Taken(frozenset(), {})
    assert not store.topics()


@pytest.mark.parametrize(
    "unknown", [message(TOPIC, text("t"), EVENTS.bytes, version=1), message(CONFIG, version=7), message(TOPIC, frame=2)]
)
def test_a_newer_version_of_what_matters_is_refused(unknown: bytes) -> None:
    with pytest.raises(VersionError):
        taken(unknown)


@given(st.lists(st.binary(max_size=60), min_size=1, max_size=5), st.binary(max_size=40))
def test_any_bytes_end_in_metadata_or_an_error_of_ours(messages: list[bytes], torn: bytes) -> None:
    try:
        read_cluster_metadata(kafka_wrote(batch(messages) + torn), PATH)
    except (StorageError, VersionError):
        return


@given(st.sampled_from([TOPIC, PARTITION, CONFIG, REMOVE, PRODUCER_IDS]), st.binary(max_size=60))
def test_a_message_cut_short_is_an_error_of_ours(kind: int, fields: bytes) -> None:
    try:
        read_cluster_metadata(kafka_wrote(batch([bytes([1, kind, 0]) + fields])), PATH)
    except CorruptError:
        return


def test_producer_ids_begin_after_any_that_somebody_has() -> None:
    store = MemoryStore()
    never_give_again(store, 4711)
    assert store.allocate_producer_ids(1) == 4712
    never_give_again(store, 3)
    assert store.allocate_producer_ids(1) > 4712
    never_give_again(store, (1 << 63) - 1)
    assert store.allocate_producer_ids(1) < 5000


def test_committed_offsets_of_which_no_settings_are_known_are_compacted_not_deleted() -> None:
    assert internal_settings("__consumer_offsets", 1024) == {"cleanup.policy": "compact", "segment.bytes": "1024"}
    assert internal_settings("__transaction_state", 1024) == {"cleanup.policy": "compact"}
    assert internal_settings("events", 1024) == {}
    assert name_fault(CLUSTER_METADATA_TOPIC) is not None

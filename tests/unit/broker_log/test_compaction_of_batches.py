"""What stays of a batch, and how a batch looks that lost some of its records."""

import random
import struct

import pytest

from headrace.broker.log.batch import DELETE_HORIZON, HEADER_SIZE, LOG_APPEND_TIME, BatchHeader, is_whole_batch, parse_header
from headrace.broker.log.compaction.keys import KeyMap, entries
from headrace.broker.log.compaction.rewrite import Tombstones, plain_records, remains, shell
from headrace.broker.log.producers import ProducerStates
from headrace.broker.log.record import Record, build_batch, first_at_or_after, records
from headrace.errors import CorruptError
from tests.unit.broker_log.logs import NOW_MS

STAY = Tombstones(NOW_MS, 60_000)
LONG = b"a key of more than thirty-two bytes, "


def with_offset(batch: bytes, base_offset: int) -> memoryview:
    return memoryview(struct.pack(">q", base_offset) + batch[8:])


def batch_of(*pairs: tuple[bytes | None, bytes | None], base: int = 100, codec: int = 0, **more: int) -> memoryview:
    content = [Record(key, value, NOW_MS - 1000 + 7 * at, (("h", b"x"),)) for at, (key, value) in enumerate(pairs)]
    return with_offset(build_batch(content, codec=codec, **more), base)


def keys_of(*batches: memoryview, size_bytes: int = 1 << 20) -> KeyMap:
    keys = KeyMap(size_bytes, 0)
    for batch in batches:
        header = parse_header(batch)
        keys.add(header, entries(plain_records(header, batch), header))
        keys.end = header.last_offset + 1
    keys.finish()
    return keys


def left_of(batch: memoryview, keys: KeyMap, tombstones: Tombstones = STAY, dirty_from: int = 0) -> memoryview | None:
    rest = remains(parse_header(batch), batch, keys, tombstones, dirty_from=dirty_from)
    if rest is None:
        return None
    assert is_whole_batch(memoryview(rest), parse_header(rest), 0)
    return memoryview(rest)


def offsets_and_values(batch: memoryview) -> list[tuple[int, bytes | None]]:
    return [(record.offset, record.value) for record in records(batch)]


def header_of(batch: memoryview | None) -> BatchHeader:
    assert batch is not None
    return parse_header(batch)


@pytest.mark.parametrize("codec", range(5))
@pytest.mark.parametrize("dirty_from", [0, 900], ids=["dirty", "clean"])
def test_of_each_key_the_last_record_stays_with_its_offset_time_and_headers(codec: int, dirty_from: int) -> None:
    batch = batch_of((b"a", b"1"), (b"b", b"2"), (LONG, b"3"), (b"a", b"4"), (LONG, b"5"), codec=codec)
    rest = left_of(batch, keys_of(batch), dirty_from=dirty_from)
    assert rest is not None
    before = {record.offset: record for record in records(batch)}
    assert list(records(rest)) == [before[101], before[103], before[104]]


def test_the_batch_keeps_its_place_its_sequence_and_its_codec() -> None:
    batch = batch_of((b"a", b"1"), (b"a", b"2"), (b"a", b"3"), codec=4, producer_id=9, producer_epoch=3, base_sequence=41)
    old, new = parse_header(batch), header_of(left_of(batch, keys_of(batch)))
    assert new.record_count == 1
    kept = ("base_offset", "last_offset_delta", "producer_id", "producer_epoch", "base_sequence", "codec", "leader_epoch")
    assert [getattr(new, name) for name in kept] == [getattr(old, name) for name in kept]


def test_the_greatest_time_is_that_of_the_records_that_stay() -> None:
    batch = batch_of((b"b", b"1"), (b"a", b"2"))
    later = batch_of((b"a", b"3"), base=102)
    assert header_of(left_of(batch, keys_of(batch, later))).max_timestamp == NOW_MS - 1000


def test_a_batch_of_which_all_stays_is_not_touched() -> None:
    batch = batch_of((b"a", b"1"), (b"b", b"2"), codec=3)
    keys = keys_of(batch)
    assert remains(parse_header(batch), batch, keys, STAY, dirty_from=0) is batch
    assert remains(parse_header(batch), batch, keys, STAY, dirty_from=900) is batch


def test_nothing_stays_of_a_batch_whose_keys_all_come_again() -> None:
    batch, later = batch_of((b"a", b"1"), (b"b", b"2")), batch_of((b"b", b"3"), (b"a", b"4"), base=102)
    assert left_of(batch, keys_of(batch, later)) is None
    assert left_of(batch, keys_of(batch, later), dirty_from=102) is None


def test_what_is_not_covered_by_the_keys_stays() -> None:
    batch, later = batch_of((b"a", b"1")), batch_of((b"a", b"2"), (b"a", b"3"), base=101)
    assert left_of(later, keys_of(batch)) == later


def test_a_record_without_a_key_goes() -> None:
    batch = batch_of((None, b"1"), (b"a", b"2"), (None, b"3"))
    rest = left_of(batch, keys_of(batch))
    assert rest is not None
    assert offsets_and_values(rest) == [(101, b"2")]


def test_a_tombstone_is_stamped_with_the_time_at_which_it_may_go_and_other_times_stay_what_they_were() -> None:
    batch = batch_of((b"a", b"1"), (b"b", None))
    rest = left_of(batch, keys_of(batch))
    header = header_of(rest)
    assert header.attributes & DELETE_HORIZON
    assert header.base_timestamp == NOW_MS + 60_000
    assert rest is not None
    assert list(records(rest)) == list(records(batch))


@pytest.mark.parametrize("dirty_from", [0, 900], ids=["dirty", "clean"])
def test_a_tombstone_goes_when_its_time_is_over_and_not_before(dirty_from: int) -> None:
    batch = batch_of((b"a", b"1"), (b"b", None))
    keys = keys_of(batch)
    stamped = left_of(batch, keys)
    assert stamped is not None
    early, late = Tombstones(NOW_MS + 59_999, 5), Tombstones(NOW_MS + 60_000, 5)
    assert left_of(stamped, keys, early, dirty_from) == stamped  # and its time is not put off
    gone = left_of(stamped, keys, late, dirty_from)
    assert gone is not None
    assert offsets_and_values(gone) == [(100, b"1")]


def test_a_retention_without_end_keeps_tombstones_for_ever() -> None:
    batch = batch_of((b"b", None))
    header = header_of(left_of(batch, keys_of(batch), Tombstones(NOW_MS, (1 << 63) - 1)))
    assert header.base_timestamp == (1 << 63) - 1


@pytest.mark.parametrize("attributes", [0x20, 0x10], ids=["control", "transactional"])
def test_what_belongs_to_transactions_stays(attributes: int) -> None:
    batch = batch_of((b"a", b"1"), (b"a", b"2"), attributes=attributes)
    later = batch_of((b"a", b"3"), base=102)
    assert left_of(batch, keys_of(later)) == batch


def test_a_shell_holds_offsets_and_sequence_without_records() -> None:
    batch = batch_of((b"a", b"1"), (b"a", b"2"), codec=2, producer_id=9, producer_epoch=3, base_sequence=41)
    empty = memoryview(shell(parse_header(batch)))
    header = parse_header(empty)
    assert is_whole_batch(empty, header, 0)
    assert (header.size, header.record_count, header.base_offset, header.last_offset) == (HEADER_SIZE, 0, 100, 101)
    assert (header.producer_id, header.producer_epoch, header.base_sequence) == (9, 3, 41)
    assert list(records(empty)) == []
    assert shell(header) == empty


def test_a_producer_read_again_from_a_shell_is_not_an_old_one() -> None:
    batch = batch_of((b"a", b"1"), attributes=LOG_APPEND_TIME, producer_id=9, producer_epoch=3, base_sequence=41)
    states = ProducerStates()
    states.appended(parse_header(shell(parse_header(batch))), 100, NOW_MS)
    states.expire(NOW_MS + 999, 1000)
    assert [written.last_sequence for written in states.batches_of(9)] == [41]


def test_with_append_time_a_look_up_finds_the_first_record_that_is_left() -> None:
    batch = batch_of((b"a", b"1"), (b"b", b"2"), (b"a", b"3"), attributes=LOG_APPEND_TIME)
    rest = left_of(batch, keys_of(batch))
    assert rest is not None
    assert first_at_or_after(rest, NOW_MS - 5000) == (101, NOW_MS - 1000 + 14)


def test_keys_that_do_not_fit_end_the_map_between_two_batches() -> None:
    keys = KeyMap(1000, 0)
    for at in range(4):
        batch = batch_of((b"k%d" % at, b"v"), base=at)
        header = parse_header(batch)
        keys.add(header, entries(plain_records(header, batch), header))
    assert keys.share < 1
    keys.add(header, [(0, 0, b"fifth", False)])
    assert keys.share >= 1


def test_any_bytes_in_place_of_records_end_in_entries_or_one_error() -> None:
    rng = random.Random(5)
    batch = batch_of((b"a", b"1"), (LONG, None), (b"c", b"w" * 200))
    header = parse_header(batch)
    good = plain_records(header, batch)
    for _ in range(3000):
        damaged = bytearray(good)
        for _ in range(rng.randint(1, 3)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        del damaged[rng.choice([len(damaged), len(damaged), rng.randrange(len(damaged))]) :]
        try:
            found = entries(bytes(damaged), header)
        except CorruptError:
            continue
        assert len(found) == 3
        assert 0 <= found[0][1] < found[1][1] < found[2][1] <= 2

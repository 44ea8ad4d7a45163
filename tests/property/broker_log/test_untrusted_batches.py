"""Any bytes are a batch or an error, never a traceback; and what is appended is what is read."""

from crc32c import crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.broker.log.batch import CRC_START, HEADER, BatchHeader, count_records, parse_header
from headrace.broker.log.compression import decompress
from headrace.broker.log.index import decode_offset_index, decode_time_index
from headrace.broker.log.producers import decode_snapshot
from headrace.broker.log.record import Record, build_batch, first_at_or_after, has_null_key, records
from headrace.broker.wire import ErrorCode
from headrace.errors import CorruptError
from tests.unit.broker_log.logs import NOW_MS, append, new_log

LOG = new_log(segment_bytes="5000", cleanup_policy="compact,delete")
RECORDS = st.lists(
    st.builds(
        Record,
        st.none() | st.binary(max_size=20),
        st.none() | st.binary(max_size=200),
        st.integers(NOW_MS - 10**12, NOW_MS + 3_600_000),
        st.lists(st.tuples(st.text(max_size=5), st.none() | st.binary(max_size=9)), max_size=3).map(tuple),
    ),
    min_size=1,
    max_size=8,
)


def must_be_answered(data: bytes) -> None:
    end = LOG.log_end_offset
    result = LOG.append(data, now_ms=NOW_MS)
    assert result.error in set(ErrorCode)
    assert (result.error == 0) == (LOG.log_end_offset > end)
    if result.error == 0:
        assert LOG.read(end, 1 << 30).records


@given(st.binary(max_size=300))
def test_any_bytes_are_answered(data: bytes) -> None:
    must_be_answered(data)


@given(RECORDS, st.integers(0, 4), st.data())
def test_a_batch_with_any_header_and_a_right_crc_is_answered(content: list[Record], codec: int, data: st.DataObject) -> None:
    batch = bytearray(build_batch(content, codec=codec))
    header = parse_header(batch)._asdict()
    numbers = st.integers(-2, 12) | st.integers(-(1 << 63), (1 << 63) - 1)
    for name in data.draw(st.lists(st.sampled_from(sorted(set(header) - {"crc"})), max_size=3)):
        bits = {"base_offset": 64, "magic": 8, "attributes": 16, "producer_epoch": 16, "length": 32, "leader_epoch": 32,
                "last_offset_delta": 32, "base_sequence": 32, "record_count": 32}.get(name, 64)  # fmt: skip
        value = data.draw(numbers) & ((1 << bits) - 1)
        header[name] = value - (1 << bits) if value >> (bits - 1) else value
    HEADER.pack_into(batch, 0, *BatchHeader(**header))
    HEADER.pack_into(batch, 0, *BatchHeader(**header)._replace(crc=crc32c(bytes(batch[CRC_START:]))))
    must_be_answered(bytes(batch))


@given(RECORDS, st.integers(0, 4), st.binary(max_size=40), st.integers(61, 400))
def test_records_that_lie_are_an_error(content: list[Record], codec: int, noise: bytes, at: int) -> None:
    batch = bytearray(build_batch(content, codec=codec))
    batch[at : at + len(noise)] = noise[: max(len(batch) - at, 0)]
    for look in (
        lambda: list(records(batch)),
        lambda: first_at_or_after(batch, NOW_MS),
        lambda: has_null_key(bytes(batch[61:])),
    ):
        try:
            look()
        except CorruptError:
            continue


@given(st.integers(0, 6), st.binary(max_size=200))
def test_any_bytes_decompress_or_are_an_error(codec: int, data: bytes) -> None:
    try:
        assert len(decompress(codec, data, limit=1 << 16)) <= max(1 << 16, len(data))
    except CorruptError:
        return


@given(st.binary(max_size=100))
def test_any_bytes_are_an_index_or_a_snapshot_or_not(data: bytes) -> None:
    decode_offset_index(data)
    decode_time_index(data)
    decode_snapshot(data, NOW_MS)


@settings(max_examples=50)
@given(st.lists(RECORDS, min_size=1, max_size=6), st.integers(0, 4))
def test_what_is_appended_is_what_is_read(batches: list[list[Record]], codec: int) -> None:
    log = new_log(segment_bytes="600")
    expected: list[Record] = []
    for content in batches:
        assert log.append(build_batch(content, codec=codec), now_ms=NOW_MS).error == 0
        expected += content
    found: list[Record] = []
    while data := log.read(len(found), 300).records:
        found += [record for record in records(data) if record.offset >= len(found)]
    strip = [(r.key, r.value, r.timestamp_ms, r.headers) for r in found]
    assert strip == [(r.key, r.value, r.timestamp_ms, r.headers) for r in expected]
    assert [record.offset for record in found] == list(range(len(expected)))


def test_the_shared_log_took_something() -> None:
    assert append(LOG, b"x").error == 0


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(1, 90)), max_size=6), st.binary(max_size=3))
def test_records_are_counted_however_long_they_are(runs: list[tuple[int, int]], after: bytes) -> None:
    values = [bytes(size) for size, count in runs for _ in range(count)]
    batch = build_batch([Record(None, value, NOW_MS) for value in values])[HEADER.size :] if values else b""
    assert count_records(batch) == len(values)
    if batch:
        assert count_records(batch[:-1]) is None
    counted = count_records(batch + after)
    assert counted is None or counted >= len(values)


@given(
    st.lists(st.tuples(st.binary(max_size=6), st.integers(0, 40)), max_size=4).map(
        lambda runs: b"".join(each * n for each, n in runs)
    )
)
def test_runs_of_any_bytes_are_counted_as_one_by_one(records_of_anyone: bytes) -> None:
    assert count_records(records_of_anyone) == counted_one_by_one(records_of_anyone)


def counted_one_by_one(data: bytes) -> int | None:
    position = count = 0
    while position < len(data):
        size = shift = 0
        while True:
            if position == len(data) or shift > 28:
                return None
            byte = data[position]
            position += 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        if size & 1:
            return None
        position += size >> 1
        count += 1
    return count if position == len(data) else None

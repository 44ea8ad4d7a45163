"""Batches, indexes and checkpoints to the byte, and against another implementation's batches."""

import pytest
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from headrace.broker.log.checkpoint import decode_epochs, decode_offsets, encode_epochs, encode_offsets, offset_line
from headrace.broker.log.compression import compress, decompress
from headrace.broker.log.index import OffsetIndex, TimeIndex, decode_offset_index, decode_time_index
from headrace.broker.log.record import Record, build_batch, records
from headrace.errors import CorruptError
from tests.unit.broker_log.logs import NOW_MS, new_log

CONTENT = [
    Record(
        b"key-%d" % at if at % 3 else None,
        b"value " * at if at % 7 else None,
        NOW_MS + at * 250 - 900,
        (("h", b"x" * at), ("n", None)),
    )
    for at in range(40)
]


def test_a_batch_has_the_bytes_of_the_specification() -> None:
    batch = build_batch(
        [Record(b"k", b"vv", 1000, (("h", b"x"),)), Record(None, None, 1001)], producer_id=7, producer_epoch=2, base_sequence=3
    )
    assert batch.hex() == (
        "0000000000000000" "00000046" "00000000" "02" + batch[17:21].hex() +
        "0000" "00000001" "00000000000003e8" "00000000000003e9" "0000000000000007" "0002" "00000003" "00000002"
        "1a" "00" "00" "00" "02" "6b" "04" "7676" "02" "02" "68" "02" "78"
        "0c" "00" "02" "02" "01" "01" "00"
    )  # fmt: skip


@pytest.mark.parametrize("codec", range(5))
def test_another_client_reads_our_batches(codec: int) -> None:
    batch = DefaultRecordBatch(build_batch(CONTENT, codec=codec))
    assert batch.validate_crc()
    theirs = [(record.offset, record.timestamp, record.key, record.value, record.headers) for record in batch]
    assert theirs == [
        (at, record.timestamp_ms, record.key, record.value, list(record.headers)) for at, record in enumerate(CONTENT)
    ]


@pytest.mark.parametrize("codec", range(5))
def test_we_store_and_read_another_clients_batches(codec: int) -> None:
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, -1, 1 << 20)  # magic, codec, no transaction, no producer
    for at, record in enumerate(CONTENT):
        builder.append(at, record.timestamp_ms, record.key, record.value, list(record.headers))
    log = new_log()
    result = log.append(bytes(builder.build()), now_ms=NOW_MS + 10_000)
    assert result.error == 0, result
    ours = [(record.key, record.value, record.timestamp_ms, record.headers) for record in records(log.read(0, 1 << 20).records)]
    assert ours == [(record.key, record.value, record.timestamp_ms, record.headers) for record in CONTENT]


def test_raw_snappy_is_read_too() -> None:
    import cramjam

    assert bytes(decompress(2, bytes(cramjam.snappy.compress_raw(b"librdkafka" * 9)))) == b"librdkafka" * 9


@pytest.mark.parametrize("codec", range(1, 5))
def test_a_small_batch_cannot_inflate_without_bound(codec: int) -> None:
    bomb = compress(codec, bytes(300_000))
    assert len(bomb) < 20_000
    assert len(decompress(codec, bomb, limit=300_000)) == 300_000
    with pytest.raises(CorruptError):
        decompress(codec, bomb, limit=299_999)


@pytest.mark.parametrize("codec", range(1, 5))
def test_damaged_compressed_records_are_an_error(codec: int) -> None:
    whole = compress(codec, b"some bytes to be compressed " * 50)
    for damaged in (whole[:-9], b"\xff" * 30, whole[:20] + b"\xff" * 20):
        with pytest.raises(CorruptError):
            decompress(codec, damaged)


def test_index_entries_have_kafkas_bytes() -> None:
    offsets, times = OffsetIndex(), TimeIndex()
    offsets.append(9, 4200)
    offsets.append(17, 8500)
    times.append(1000, 9)
    times.append(1000, 12)
    times.append(1300, 17)
    assert offsets.encode().hex() == "00000009000010680000001100002134"
    assert offsets.encode(1).hex() == "0000001100002134"
    assert times.encode().hex() == "00000000000003e800000009000000000000051400000011"
    read = decode_offset_index(offsets.encode())
    assert read is not None
    assert [read.position_at_or_before(offset) for offset in (8, 9, 16, 17, 99)] == [0, 4200, 4200, 8500, 8500]
    read_times = decode_time_index(times.encode())
    assert read_times is not None
    assert [read_times.at_or_before(time) for time in (999, 1000, 1299, 1300)] == [None, (1000, 9), (1000, 9), (1300, 17)]


@pytest.mark.parametrize(
    "damaged", ["00", "00000009000010680000000900002134", "00000009000010680000001100001068", "8000000000000001"]
)
def test_a_damaged_offset_index_is_not_read(damaged: str) -> None:
    assert decode_offset_index(bytes.fromhex(damaged)) is None


def test_a_damaged_time_index_is_not_read() -> None:
    entry = "00000000000003e800000009"
    for damaged in ("00", entry + entry, "00000000000003e880000009", entry + "000000000000051400000008"):
        assert decode_time_index(bytes.fromhex(damaged)) is None


def test_checkpoints_are_read_as_written_and_damage_is_named() -> None:
    offsets = {("a.topic", 12): 1 << 40, ("b", 1): 7}
    content = encode_offsets([offset_line(at, offset) for at, offset in offsets.items()])
    assert content == b"0\n2\na.topic 12 1099511627776\nb 1 7\n"
    assert decode_offsets(content, "file") == offsets
    assert decode_epochs(encode_epochs([(0, 0), (3, 17)]), "file") == [(0, 0), (3, 17)]
    for damaged in (b"", b"0\n", b"x\n0\n", b"0\n2\na 1 7\n", b"0\n1\na 1\n", b"0\n1\na one 7\n"):
        with pytest.raises(CorruptError, match="file"):
            decode_offsets(damaged, "file")
    with pytest.raises(CorruptError, match="rise"):
        decode_epochs(b"0\n2\n3 4\n2 5\n", "file")

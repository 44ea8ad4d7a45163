"""A look into a batch is taken at once where it is quick, and says so where it is not."""

from pathlib import Path

import pytest

from headrace.broker.log.compression import GZIP, NONE
from headrace.broker.log.disk import RealDisk
from headrace.broker.log.lookup import BatchAt, PartAt, SlowLookError
from headrace.broker.log.record import Record, build_batch
from tests.unit.broker_log.logs import NOW_MS, new_log


def the_batch(*values: bytes, codec: int = NONE) -> BatchAt:
    """The only batch of a log; its records are a millisecond apart."""
    log = new_log()
    log.append(build_batch([Record(None, value, NOW_MS + at) for at, value in enumerate(values)], codec=codec), now_ms=NOW_MS)
    batch = log.batch_not_before(0, 0)
    assert batch is not None
    return batch


@pytest.mark.parametrize("codec", [NONE, GZIP])
def test_a_small_batch_is_looked_into_at_once(codec: int) -> None:
    batch = the_batch(*[b"v" * 20] * 100, codec=codec)
    for wanted in (0, 1, 57, 99):
        assert (
            batch.first_at_once(NOW_MS + wanted, 0) == batch.first_at_or_after(NOW_MS + wanted, 0) == (wanted, NOW_MS + wanted)
        )
    assert batch.first_at_once(NOW_MS + 10, 42) == (42, NOW_MS + 42)
    assert batch.first_at_once(NOW_MS + 100, 0) is None


def test_a_large_record_is_not_read_to_the_end() -> None:
    batch = the_batch(bytes(500_000), bytes(500_000))
    assert batch.first_at_once(NOW_MS, 0) == (0, NOW_MS)
    with pytest.raises(SlowLookError):  # the second record lies behind what is read at once
        batch.first_at_once(NOW_MS + 1, 0)


@pytest.mark.parametrize(
    "batch",
    [
        the_batch(*[b""] * 201),
        the_batch(bytes(100_000), codec=GZIP),
        the_batch(*[str(at).encode() * 500 for at in range(100)], codec=GZIP),
    ],
    ids=["many records", "inflates to much", "large and compressed"],
)
def test_what_takes_long_is_left_to_a_thread(batch: BatchAt) -> None:
    with pytest.raises(SlowLookError):
        batch.first_at_once(NOW_MS, 0)
    assert batch.first_at_or_after(NOW_MS, 0) == (0, NOW_MS)


def test_a_file_says_what_the_page_cache_has(tmp_path: Path) -> None:
    file = RealDisk().open(str(tmp_path / "file"), create=True)
    file.pwrite([b"0123456789"], 0)
    assert file.pread_cached(4, 3) == b"3456"
    assert file.pread_cached(40, 6) == b"6789"
    file.close()
    with pytest.raises(OSError, match="closed"):
        file.pread_cached(1, 0)


def test_a_long_look_rests_after_every_32_records() -> None:
    rests: list[int] = []
    batch = the_batch(*[b""] * 1000, codec=GZIP)
    assert batch.first_at_or_after(NOW_MS + 639, 0, lambda: rests.append(1)) == (639, NOW_MS + 639)
    assert len(rests) == 640 // 32
    rests.clear()
    part = PartAt(batch.file, batch.position, batch.header.size, 500)
    assert part.greatest_timestamp(lambda: rests.append(1)) == NOW_MS + 999
    assert len(rests) == 1000 // 32

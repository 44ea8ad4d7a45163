"""Times that Python's calendar lacks are texts, and keep no other value from being shown."""

import datetime as dt
import random
from typing import Any

import pyarrow as pa
import pytest

from headrace.jobs.far_times import values_of

YEAR_10000_MS = 253_402_300_800_000
UTC_MS, UTC_US = pa.timestamp("ms", "UTC"), pa.timestamp("us", "UTC")


@pytest.mark.parametrize(
    ("number", "kind", "said"),
    [
        (YEAR_10000_MS + 1, UTC_MS, "+10000-01-01T00:00:00.001000Z"),
        (-62_135_596_800_001, UTC_MS, "0000-12-31T23:59:59.999000Z"),
        (-(10**17), pa.timestamp("us"), "-1199-02-15T14:13:20"),
        (-(10**17), UTC_US, "-1199-02-15T14:13:20Z"),
        (2**63 - 1, UTC_US, "infinity"),
        (-(2**63), UTC_US, "-infinity"),
        (2**63 - 1, pa.timestamp("us"), "infinity"),
        (-(2**63) + 1, pa.timestamp("us"), "-infinity"),
        (6_585_443, pa.date32(), "+20000-05-01"),
        (2**31 - 1, pa.date32(), "infinity"),
    ],
)
def test_a_time_far_away_is_a_text(number: int, kind: pa.DataType, said: str) -> None:
    stored = pa.array([number, None, 0], pa.int32() if kind == pa.date32() else pa.int64()).view(kind)
    far, null, epoch = values_of(stored)
    assert (far, null) == (said, None)
    assert str(epoch).startswith("1970-01-01")


def test_times_of_utc_are_those_that_arrow_says_also_of_a_slice_with_nulls() -> None:
    random_ = random.Random(1)
    first, last = -62_135_596_800_000_000, 253_402_300_799_999_999
    numbers = [None if random_.random() < 0.2 else random_.randint(first, last) for _ in range(100)]
    times = pa.array([first, last, *numbers], pa.int64()).view(UTC_US)
    for some in (times, times.slice(7, 30)):
        assert values_of(some) == some.to_pylist()
    assert values_of(times)[0].tzinfo is dt.UTC


def test_within_lists_maps_and_structs_too_and_beside_nulls() -> None:
    times = pa.array([0, YEAR_10000_MS, None], pa.int64()).view(UTC_MS)
    epoch, far = dt.datetime(1970, 1, 1, tzinfo=dt.UTC), "+10000-01-01T00:00:00Z"
    lists = pa.ListArray.from_arrays(pa.array([0, 2, 2, 3]), times)
    maps = pa.MapArray.from_arrays(pa.array([0, 1, 3]), pa.array(["a", "b", "c"]), times)
    structs = pa.StructArray.from_arrays([times], names=["t"], mask=pa.array([False, False, True]))
    expected: list[tuple[Any, list[Any]]] = [
        (lists, [["1970-01-01T00:00:00Z", far], [], [None]]),
        (lists.slice(1), [[], [None]]),
        (maps, [{"a": "1970-01-01T00:00:00Z"}, {"b": far, "c": None}]),
        (structs, [{"t": "1970-01-01T00:00:00Z"}, {"t": far}, None]),
    ]
    assert values_of(times.slice(0, 1)) == [epoch]
    nanoseconds = pa.array([1_001, None], pa.int64()).view(pa.timestamp("ns"))
    microsecond = dt.datetime(1970, 1, 1, microsecond=1)  # noqa: DTZ001 - it has no zone
    assert values_of(pa.StructArray.from_arrays([nanoseconds], names=["t"])) == [{"t": microsecond}, {"t": None}]
    for array, values in expected:
        assert values_of(array) == values

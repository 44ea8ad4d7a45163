"""What is written for many values at once, or with what the value before left, is what is written for each alone."""

import io
from datetime import timedelta, timezone
from typing import Any

import fastavro
from hypothesis import given
from hypothesis import strategies as st

from headrace.agents.events import time_forms, timestamps
from headrace.agents.events.schemas.binary import lengths, string_map, zigzags
from headrace.agents.events.timestamps import Recognise
from headrace.varints import zigzag

READ = 1_795_424_400_123_000
STARTS = [
    "2026-11-23 08:00:00.",
    "2026-11-23T08:00:00,",
    "2026-11-23 08:00:60.",
    "2026-13-23 08:00:00.",
    "1999-01-01 00:00:00.",
]
FRACTIONS = st.text("0123456789٣", min_size=1, max_size=11) | st.sampled_from(["123", "456", "12x", ""])
ISO = st.sampled_from([timestamps.iso, time_forms.iso])
BEHIND = st.text("Z+-:0123 \tx", max_size=7) | st.sampled_from(
    [
        " CET",
        " pm",
        " PM x",
        " parameters",
        " CET5",
        " EST_",
        " EST x",
        " ERROR",
        " EETX",
        " CST",
        ":5",
        "Z",
        "Z ",
        " Z",
        " Zebra",
        "+02:00",
        "+0200",
        " x",
        "-",
        "",
        "Z1",
    ]
)
TIMES = st.builds(str.__add__, st.builds(str.__add__, st.sampled_from(STARTS), FRACTIONS), BEHIND)


def zone(hours: int) -> Any:
    offset = timezone(timedelta(hours=hours)).utcoffset(None)
    return lambda us: us - int(offset.total_seconds()) * 1_000_000


ZONES = [None, zone(1), zone(-5)]


@given(iso=ISO, times=st.lists(st.tuples(TIMES, st.sampled_from(ZONES)), max_size=12))
def test_an_iso_time_does_not_depend_on_the_time_before(iso: Recognise, times: list[tuple[str, Any]]) -> None:
    warm = [iso(text, READ, local) for text, local in times]
    cold = []
    for text, local in times:
        assert iso("1970-01-01 00:00:00.5!!", READ, None) == 500_000
        cold.append(iso(text, READ, local))
    assert warm == cold


@given(
    numbers=st.lists(
        st.integers(-(2**63), 2**63 - 1) | st.integers(8_000, 8_400) | st.integers(2**27 - 300, 2**27 + 300), max_size=40
    )
)
def test_numbers_are_written_as_each_alone(numbers: list[int]) -> None:
    assert zigzags(numbers) == [zigzag(number) for number in numbers]


@given(sizes=st.lists(st.integers(0, 5000), max_size=5))
def test_lengths_are_written_as_each_alone(sizes: list[int]) -> None:
    assert lengths([b"x" * size for size in sizes]) == [zigzag(size) for size in sizes]


@given(
    maps=st.lists(
        st.dictionaries(
            st.text(max_size=5) | st.sampled_from(["%", "%b", "a%%s", "n" * 3000, "m" * 2368]),
            st.text(max_size=5) | st.sampled_from(["v" * 4096, "%d", "é" * 2048]),
            max_size=6,
        ),
        max_size=6,
    )
)
def test_maps_are_what_an_avro_library_writes(maps: list[dict[str, str]]) -> None:
    for fields in maps:
        out = io.BytesIO()
        fastavro.schemaless_writer(out, {"type": "map", "values": "string"}, fields)
        assert string_map(fields) == out.getvalue()

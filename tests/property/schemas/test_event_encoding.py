"""The event encoder writes the very bytes that fastavro writes, and the loader's decoder reads them back."""

import io
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.schemas.arrow import decode
from headrace.schemas.envelope import ENVELOPE, ENVELOPE_JSON, EventEncoder, Origin, varint

PARSED = fastavro.parse_schema(ENVELOPE)
LONGS = st.integers(-(2**63), 2**63 - 1)
TEXTS = st.text(max_size=50)
EVENTS = st.fixed_dictionaries(
    {
        "event_time": LONGS,
        "event_time_source": st.sampled_from(["line", "read"]),
        "read_time": LONGS,
        "position": LONGS,
        "since": LONGS,
        "part": st.integers(0, 2**31 - 1),
        "message": TEXTS | st.text(min_size=8000, max_size=9000),
        "encoding": st.sampled_from(["utf-8", "iso-8859-1"]),
        "fields": st.dictionaries(TEXTS, TEXTS, max_size=9),
    }
)
ORIGINS = st.builds(Origin, TEXTS, TEXTS, TEXTS, TEXTS, TEXTS)


def ours(encoder: EventEncoder, event: dict[str, Any]) -> bytes:
    return encoder.encode(
        event_time_us=event["event_time"],
        event_time_source=event["event_time_source"],
        read_time_us=event["read_time"],
        position=event["position"],
        since=event["since"],
        part=event["part"],
        message=event["message"].encode(),
        encoding=event["encoding"],
        fields=event["fields"],
    )


def full(origin: Origin, event: dict[str, Any]) -> dict[str, Any]:
    names = ("agent_id", "stream_id", "host", "service", "source")
    return event | {name: getattr(origin, name) for name in names}


@settings(deadline=None, max_examples=60)
@given(ORIGINS, st.lists(EVENTS, max_size=5))
def test_events_are_encoded_as_fastavro_does(origin: Origin, events: list[dict[str, Any]]) -> None:
    encoder = EventEncoder(origin)
    for event in events:
        out = io.BytesIO()
        fastavro.schemaless_writer(out, PARSED, {**full(origin, event), "event_time": event["event_time"]})
        assert ours(encoder, event) == out.getvalue()


@settings(deadline=None, max_examples=60)
@given(ORIGINS, st.lists(EVENTS, min_size=1, max_size=5), st.integers(1, 30))
def test_events_are_decoded_as_they_were_encoded(origin: Origin, events: list[dict[str, Any]], times: int) -> None:
    encoder = EventEncoder(origin)
    table, bad = decode(ENVELOPE_JSON, [ours(encoder, event) for event in events] * times)
    assert bad == []
    table = table.set_column(0, "event_time", table["event_time"].cast("int64"))
    table = table.set_column(2, "read_time", table["read_time"].cast("int64"))
    expected = [{**full(origin, event), "fields": list(event["fields"].items())} for event in events] * times
    assert table.to_pylist() == expected


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1])
def test_an_integer_of_more_than_64_bits_is_refused(value: int) -> None:
    with pytest.raises(ValueError, match="64 bits"):
        varint(value)

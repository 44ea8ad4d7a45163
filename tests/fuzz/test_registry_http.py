"""Any bytes at a registry's port end in an answer or a closed connection: never in a traceback, a hang, memory that grows."""

import contextlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.schemas import avro_kind, json_kind
from headrace.schemas.compatibility import problems
from headrace.schemas.invalid import InvalidSchemaError
from tests.fuzz.http_requests import conversation
from tests.fuzz.target import assert_alive, converse, faults, fuzzed_registry, memory_mb
from tests.integration.broker.bad_peers import greatest_resident_bytes
from tests.processes import Part

GROWTH_MB = 25
ONE_REQUEST_MB = 60  # at the most, for as long as it takes


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Part]:
    with fuzzed_registry(tmp_path_factory.mktemp("fuzzed")) as running:
        yield running


def test_conversations_do_no_harm(part: Part) -> None:
    with ThreadPoolExecutor(8) as pool:
        closed = list(pool.map(lambda number: converse(part, conversation(Random(number))), range(100)))
        warm_mb = memory_mb(part)
        closed += pool.map(lambda number: converse(part, conversation(Random(number))), range(100, 250))
    assert [number for number, done in enumerate(closed) if not done] == []
    assert_alive(part)
    assert faults(part) == []
    assert memory_mb(part) < warm_mb + GROWTH_MB
    assert greatest_resident_bytes(part) / 1e6 < warm_mb + ONE_REQUEST_MB


@pytest.mark.parametrize(
    "sent",
    [
        b"POST /subjects/a-value HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n{",
        b"POST /subjects/a-value HTTP/1.1\r\nHost: h\r\nContent-Encoding: gzip\r\nContent-Length: 9\r\n\r\n123456789",
        b"GET /subjects HTTP/1.1\r\nHost: h\r\nContent-Encoding: deflate\r\nContent-Length: 9\r\n\r\n\xff23456789",
        b"GET /subjects HTTP/1.1\r\nHost: h\r\nExpect: \xff\r\n\r\n",
        b"GET /subjects/a-value/versions/00000000001" + b"9" * 5000 + b" HTTP/1.1\r\nHost: h\r\n\r\n",
    ],
)
def test_what_once_left_a_traceback_leaves_none(part: Part, sent: bytes) -> None:
    assert converse(part, [sent])
    assert_alive(part)
    assert faults(part) == []


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(("long", "string", "record", "array", "enum", "a")),
    lambda each: (
        st.lists(each, max_size=3)
        | st.dictionaries(
            st.sampled_from(("type", "name", "fields", "items", "symbols", "default", "logicalType", "size")), each
        )
    ),
    max_leaves=12,
)


@pytest.mark.filterwarnings("ignore::avro.errors.IgnoredLogicalType")
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_JSON.map(json.dumps) | st.text())
def test_any_text_is_a_schema_or_is_refused(text: str) -> None:
    with contextlib.suppress(InvalidSchemaError):
        assert avro_kind.parse(text).meaning


_KEYWORDS = st.sampled_from(
    ("type", "properties", "items", "required", "enum", "not", "anyOf", "allOf", "$ref", "$id", "$defs", "minimum",
     "additionalProperties", "patternProperties", "dependencies", "prefixItems", "maxLength")
)  # fmt: skip
_JSON_SCHEMAS = st.recursive(
    st.booleans() | st.integers() | st.sampled_from(("object", "string", "number", "integer", "#", "#/$defs/a", "a")),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(_KEYWORDS | st.just("a"), each, max_size=4),
    max_leaves=14,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_JSON_SCHEMAS.map(json.dumps), _JSON_SCHEMAS.map(json.dumps))
def test_any_two_json_schemas_are_compared_or_refused(one: str, other: str) -> None:
    with contextlib.suppress(InvalidSchemaError):
        old, new = json_kind.parse(one), json_kind.parse(other)
        assert isinstance(problems("FULL", new, [old]), list)
        assert problems("FULL", old, old) == [] or "$ref" in one

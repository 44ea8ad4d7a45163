"""Every served message in every served version: our encoder gives kio's bytes, and older requests read like the newest."""

import contextlib
import dataclasses
import datetime
import io
import uuid
from collections.abc import Generator
from typing import Any

import pytest
from kio.index import load_request_schema, load_response_schema
from kio.serial import entity_reader, entity_writer
from kio.static.primitive import TZAware

from headrace.broker.handlers.table import APIS
from headrace.broker.wire import encode
from headrace.broker.wire.header import MalformedRequestError
from headrace.broker.wire.large_produce import LargeProduce
from headrace.broker.wire.schema import milliseconds, request_codec

VERSIONS = [(api.key, version) for api in APIS.values() for version in range(api.min_version, api.max_version + 1)]
SAMPLES: dict[str, Any] = {
    "int8": 3,
    "int16": 1234,
    "int32": 70_001,
    "int64": 1 << 41,
    "float64": 12.5,
    "bool": True,
    "string": "naïve",
    "bytes": b"\x00\xff",
    "records": b"records",
    "uuid": uuid.UUID(int=7),
    "error_code": 17,
    "timedelta_i32": 1501,
    "timedelta_i64": 1502,
    "datetime_i64": 1_700_000_000_000,
}


def sample(entity: Any) -> dict[str, Any]:
    """A mapping with a value in every field, two items in every array."""
    return {field.name: _value(field) for field in dataclasses.fields(entity)}


def _value(field: Any) -> Any:
    kind, inner = field.metadata.get("kafka_type"), encode.inner_type(field.type)
    one = SAMPLES[kind] if kind else sample(inner)
    return [one, one] if "tuple[" in str(field.type) else one


def as_kio(entity: Any, value: dict[str, Any]) -> Any:
    """The same as an object of kio's class."""
    return entity(**{field.name: _as_kio_field(field, value[field.name]) for field in dataclasses.fields(entity)})


def _as_kio_field(field: Any, value: Any) -> Any:
    kind, inner = field.metadata.get("kafka_type"), encode.inner_type(field.type)

    def convert(item: Any) -> Any:
        if kind is None:
            return as_kio(inner, item)
        if kind == "error_code":
            return inner(item)
        if kind.startswith("timedelta"):
            return datetime.timedelta(milliseconds=item)
        if kind == "datetime_i64":
            return TZAware.truncate(datetime.datetime.fromtimestamp(item / 1000, datetime.UTC))
        return item

    return tuple(convert(item) for item in value) if isinstance(value, list) else convert(value)


@pytest.mark.parametrize(("key", "version"), VERSIONS)
def test_our_encoding_is_kios(key: int, version: int) -> None:
    entity = load_response_schema(key, version)
    value = sample(entity)
    expected = io.BytesIO()
    entity_writer(entity)(expected, as_kio(entity, value))
    assert request_codec(key, version, (APIS[key].min_version, APIS[key].max_version)).encode_body(value) == expected.getvalue()


@pytest.mark.parametrize(("key", "version"), VERSIONS)
def test_in_steps_the_bytes_are_the_same(key: int, version: int) -> None:
    codec = request_codec(key, version, (APIS[key].min_version, APIS[key].max_version))
    value = sample(load_response_schema(key, version))
    many = {name: item * 40 if isinstance(item, list) else item for name, item in value.items()}
    assert run_to_the_end(codec.encode_in_steps(9, many)) == codec.encode(9, many)


def run_to_the_end(steps: Generator[None, None, bytes]) -> bytes:
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return bytes(done.value)


@pytest.mark.parametrize(("key", "version"), VERSIONS)
def test_fields_that_a_version_lacks_are_dropped(key: int, version: int) -> None:
    served = APIS[key].min_version, APIS[key].max_version
    value = sample(load_response_schema(key, version))
    codec = request_codec(key, version, served)
    assert codec.encode_body({**value, "field_of_the_future": 5}) == codec.encode_body(value)


@pytest.mark.parametrize(("key", "version"), VERSIONS)
def test_requests_of_every_version_have_the_newest_fields(key: int, version: int) -> None:
    served = APIS[key].min_version, APIS[key].max_version
    request_codec(key, version, served)
    mine, newest = load_request_schema(key, version), load_request_schema(key, served[1])
    missing = [field.name for field in dataclasses.fields(newest) if not hasattr(mine, field.name)]
    assert missing == []


def test_absent_fields_have_kafkas_defaults() -> None:
    request = request_codec(3, 1, (0, 12)).decode(b"\xff\xff\xff\xff", 0)
    assert request.topics is None
    assert request.allow_auto_topic_creation is True
    assert request.include_topic_authorized_operations is False
    codec = request_codec(11, 0, (0, 9))
    body = b"\0\1g" + b"\0\0\x27\x10" + b"\0\0" + b"\0\1p" + b"\0\0\0\0"
    join = codec.decode(body, 0)
    assert milliseconds(join.session_timeout) == 10_000
    assert milliseconds(join.rebalance_timeout) == -1
    assert join.group_instance_id is None


@pytest.mark.parametrize("body", [b"", b"\0\0\0\5\0\3ab", b"\0\0\0\1\0\2\xff\xfe", b"\x7f\xff\xff\xff\0\1a", b"\x80\0\0\0"])
def test_damaged_bodies_are_malformed(body: bytes) -> None:
    with pytest.raises(MalformedRequestError):
        request_codec(3, 1, (0, 12)).decode(body, 0)


@pytest.mark.parametrize(
    ("key", "version", "served", "body"),
    [
        pytest.param(19, 2, (2, 7), b"\xff\xff\xff\xff" + bytes(5), id="topics of CreateTopics"),
        pytest.param(0, 3, (3, 11), b"\xff\xff\0\1" + bytes(4) + b"\0\0\0\1\0\1t\xff\xff\xff\xff", id="partitions of Produce"),
    ],
)
def test_arrays_that_may_not_be_null_are_malformed_when_null(
    key: int, version: int, served: tuple[int, int], body: bytes
) -> None:
    with pytest.raises(MalformedRequestError, match="is null"):
        request_codec(key, version, served).decode(body, 0)


def encoded_request(key: int, version: int) -> bytes:
    """A request with a value in every field, two items in every array."""
    entity = load_request_schema(key, version)
    body = io.BytesIO()
    entity_writer(entity)(body, as_kio(entity, sample(entity)))
    return body.getvalue()


@pytest.mark.parametrize(("key", "version"), VERSIONS)
def test_full_requests_of_every_version_are_decoded(key: int, version: int) -> None:
    entity = load_request_schema(key, version)
    codec = request_codec(key, version, (APIS[key].min_version, APIS[key].max_version))
    header = b"\0" if entity.__flexible__ else b""
    assert codec.decode(header + encoded_request(key, version), 0) == as_kio(entity, sample(entity))


@pytest.mark.parametrize(("key", "version"), VERSIONS)
@pytest.mark.parametrize("claim", [b"\xff\xff\xff\xff\x0f", b"\x7f\xff\xff\xff", b"\x00\x20\x00\x00"])
def test_claims_of_any_size_at_any_place_end_no_process(key: int, version: int, claim: bytes) -> None:
    """kio gives room before it reads: a claim of 2³² items would be an allocation that fails, and the end of the broker."""
    codec = request_codec(key, version, (APIS[key].min_version, APIS[key].max_version))
    body = (b"\0" if load_request_schema(key, version).__flexible__ else b"") + encoded_request(key, version)
    for at in range(len(body)):
        with contextlib.suppress(MalformedRequestError):
            codec.decode(body[:at] + claim + body[at:], 0)


def test_an_array_claims_no_more_items_than_there_are_bytes_for() -> None:
    names = b"\0\0\0\3" + 3 * b"\0\1t"
    assert len(request_codec(3, 1, (0, 12)).decode(names, 0).topics) == 3
    with pytest.raises(MalformedRequestError, match="topics claims 3 items, and 5 bytes are left"):
        request_codec(3, 1, (0, 12)).decode(names[:9], 0)


def test_tagged_fields_that_nobody_knows_are_ignored_at_every_depth() -> None:
    """KIP-482: they may be added to a version that is out already."""
    unknown = b"\2\x05\3abc\x85\7\0"  # tags 5 and 901
    partition = b"\0\0\0\7" + b"\4abc" + unknown
    body = b"\0" + b"\0\0\1\0\0\0\1" + b"\2" + b"\2t" + b"\2" + partition + unknown + unknown
    (topic,) = request_codec(0, 9, (3, 11)).decode(body, 0).topic_data
    assert topic.name == "t"
    assert [(data.index, bytes(data.records)) for data in topic.partition_data] == [(7, b"abc")]


def test_tagged_fields_that_are_known_stay_beside_those_that_are_not() -> None:
    fetch = b"\0" + bytes(4 + 4 + 4) + b"\0" + bytes(4 + 4) + b"\1" + b"\1" + b"\1"  # v15 of no topics, before its tags
    request = request_codec(1, 15, (4, 16)).decode(fetch + b"\2" + b"\0\2\2c" + b"\x09\1?", 0)
    assert request.cluster_id == "c"


@pytest.mark.parametrize("version", range(APIS[0].min_version, APIS[0].max_version + 1))
def test_a_large_produce_is_decoded_as_a_small_one_and_its_records_are_not_copied(version: int) -> None:
    schema = load_request_schema(0, version)
    partitions = [{"index": 3, "records": b"r" * 700_000}, {"index": 4, "records": None}, {"index": 5, "records": b""}]
    topics = [{"name": "naïve", "partition_data": partitions}, {"name": "t" * 200, "partition_data": partitions}]
    body = {"transactional_id": None, "acks": -1, "timeout": 1501, "topic_data": topics}
    out = bytearray(b"\0" if schema.__flexible__ else b"")
    encode.entity_writer(schema)(out, body)
    large = request_codec(0, version, (APIS[0].min_version, APIS[0].max_version)).decode(bytes(out), 0)
    expected, _ = entity_reader(schema)(bytes(out), 1 if schema.__flexible__ else 0)
    assert isinstance(large, LargeProduce)
    assert (large.transactional_id, large.acks, large.timeout) == (None, -1, expected.timeout)
    for topic, as_kio_says in zip(large.topic_data, expected.topic_data, strict=True):
        assert topic.name == as_kio_says.name
        told = [(each.index, each.records) for each in topic.partition_data]
        assert told == [(each.index, each.records) for each in as_kio_says.partition_data]
    assert isinstance(large.topic_data[0].partition_data[0].records, memoryview)
    for end in range(0, len(out), 9973):
        with pytest.raises(MalformedRequestError):
            request_codec(0, version, (APIS[0].min_version, APIS[0].max_version)).decode(bytes(out[:end]), 0)


def test_a_required_field_left_out_is_our_fault() -> None:
    with pytest.raises(KeyError, match="brokers"):
        request_codec(3, 1, (0, 12)).encode_body({"controller_id": 1, "topics": []})


def test_ints_of_durations_come_back_as_they_went() -> None:
    body = request_codec(19, 7, (2, 7)).encode_body({"throttle_time": 1501, "topics": []})
    response, _ = entity_reader(load_response_schema(19, 7))(body, 0)
    assert milliseconds(response.throttle_time) == 1501

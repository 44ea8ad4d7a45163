"""Records of `_schemas` are Confluent's, byte for byte, and whatever else lies in that topic does no harm."""

import pytest

from headrace.schemas import records
from headrace.schemas.records import ConfigKey, ContextKey, DeleteSubjectKey, ModeKey, SchemaKey, SpentIdKey
from headrace.schemas.references import Reference
from headrace.schemas.schema import Schema
from headrace.schemas.store import SchemaStore


def test_keys_and_values_are_written_as_confluent_writes_them() -> None:
    assert SchemaKey("a-value", 3).encode() == b'{"keytype":"SCHEMA","subject":"a-value","version":3,"magic":1}'
    assert ConfigKey(None).encode() == b'{"keytype":"CONFIG","subject":null,"magic":0}'
    assert ConfigKey("a-value").encode() == b'{"keytype":"CONFIG","subject":"a-value","magic":0}'
    assert DeleteSubjectKey("a").encode() == b'{"keytype":"DELETE_SUBJECT","subject":"a","magic":0}'
    assert ModeKey(None).encode() == b'{"keytype":"MODE","subject":null,"magic":0}'
    assert ContextKey(".c").encode() == b'{"keytype":"CONTEXT","tenant":"default","context":".c","magic":0}'
    assert SpentIdKey(".", 7).encode() == b'{"keytype":"NOOP","magic":0,"context":".","id":7}'
    value = records.schema_value("naïve", 3, 7, Schema("AVRO", '"string"')).encode()
    assert value == '{"subject":"naïve","version":3,"id":7,"schema":"\\"string\\"","deleted":false}'.encode()
    referring = Schema("PROTOBUF", "S", (Reference("m.proto", "money", 1),), {"properties": {"a": "b"}})
    assert records.schema_value("pb", 1, 4, referring).encode() == (
        b'{"subject":"pb","version":1,"id":4,"schemaType":"PROTOBUF",'
        b'"references":[{"name":"m.proto","subject":"money","version":1}],'
        b'"metadata":{"properties":{"a":"b"}},"schema":"S","deleted":false}'
    )
    assert records.encode_config(None, {"compatibilityLevel": "FULL"}) == b'{"compatibilityLevel":"FULL"}'
    assert records.encode_config("a", {"compatibilityLevel": "FULL"}) == b'{"subject":"a","compatibilityLevel":"FULL"}'
    assert records.encode_mode("a", "IMPORT") == b'{"subject":"a","mode":"IMPORT"}'
    assert records.encode_deletion("a", 4) == b'{"subject":"a","version":4}'


@pytest.mark.parametrize(
    ("key", "parsed"),
    [
        (b'{"keytype":"SCHEMA","subject":"a","version":3,"magic":1}', SchemaKey("a", 3)),
        (b'{"subject":"a","version":3,"magic":1,"keytype":"SCHEMA"}', SchemaKey("a", 3)),
        (b'{"keytype":"CONFIG","magic":0}', ConfigKey(None)),
        (b'{"keytype":"NOOP","magic":0}', None),
        (b'{"keytype":"SCHEMA","subject":"a","version":0,"magic":1}', None),
        (b'{"keytype":"SCHEMA","version":1,"magic":1}', None),
        (b"[", None),
        (b"3", None),
        (b"\xff", None),
        (None, None),
    ],
)
def test_keys_are_read_in_any_order_and_others_are_none(key: bytes | None, parsed: object) -> None:
    assert records.parse_key(key) == parsed


def test_a_topic_of_another_registry_is_served_as_far_as_it_is_known() -> None:
    store = SchemaStore()
    log = [
        (b'{"keytype":"NOOP","magic":0}', None),
        (b'{"keytype":"CONFIG","subject":null,"magic":0}', b'{"compatibilityLevel":"FORWARD"}'),
        (
            b'{"keytype":"SCHEMA","subject":"a","version":1,"magic":1}',
            b'{"subject":"a","version":1,"id":100001,"md5":"x","schema":"\\"int\\"","deleted":false,"ts":1}',
        ),
        (
            b'{"keytype":"SCHEMA","subject":"p","version":1,"magic":1}',
            b'{"subject":"p","version":1,"id":3,"schemaType":"PROTOBUF","schema":"syntax","deleted":false}',
        ),
        (b'{"keytype":"SCHEMA","subject":"b","version":1,"magic":1}', b"not json"),
        (b'{"keytype":"SCHEMA","subject":"c","version":1,"magic":1}', b'{"id":9,"schema":"\\"int\\"","deleted":true}'),
        (b'{"keytype":"SCHEMA","subject":"c","version":1,"magic":1}', None),
        (b'{"keytype":"CLEAR_SUBJECT","subject":"a","magic":0}', b"{}"),
        (b"\x00\x01", b"\x02"),
    ]
    for key, value in log:
        store.apply(records.read(key, value))
    assert store.subjects() == ["a", "p"]
    assert store.settings.level("a") == "FORWARD"
    assert store.max_id() == 100001
    [found] = store.with_id(3)
    assert (found.schema.kind, found.schema.text) == ("PROTOBUF", "syntax")
    assert store.repair() == store.spending(".", 9)  # what was deleted for good by others keeps its id


def test_members_that_are_not_ours_stay_when_a_version_is_written_again() -> None:
    raw = b'{"subject":"a","version":1,"id":7,"md5":"x","schema":"\\"int\\"","deleted":false,"ts":1}'
    value = records.parse_schema_value(raw)
    assert value is not None
    assert value.encode() == raw

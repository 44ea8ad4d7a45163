"""What Confluent's registry 7.4.0 was seen to answer and to write to `_schemas`, against ours: byte for byte.

The captures are those that github.com/robot-head/crabka took of cp-schema-registry (crates/schema-registry/tests/fixtures):
what was asked and answered, each record of the topic, and matrices of pairs of schemas with the verdicts.
"""

import json
from typing import Any

import pytest

from headrace.schemas.compatibility import problems
from headrace.schemas.kinds import parse
from headrace.schemas.schema_log import LogRecord
from tests.unit.schemas.memory_log import MemoryLog
from tests.unit.schemas.rest_api import Api, serve

Record = tuple[str, str | None]
NOOP: Record = ('{"keytype":"NOOP","magic":0}', None)


def schema_record(
    subject: str, version: int, schema_id: int, text: str, *, kind: str = "", references: str = "", deleted: bool = False
) -> Record:
    middle = (f'"schemaType":"{kind}",' if kind else "") + (f'"references":[{references}],' if references else "")
    state = "true" if deleted else "false"
    return (
        f'{{"keytype":"SCHEMA","subject":"{subject}","version":{version},"magic":1}}',
        f'{{"subject":"{subject}","version":{version},"id":{schema_id},{middle}"schema":{json.dumps(text)},"deleted":{state}}}',
    )


def avro(name: str) -> str:
    return f'{{"type":"record","name":"{name}","fields":[]}}'


MONEY = '{"type":"record","name":"Money","fields":[{"name":"cents","type":"long"}]}'
ORDER = '{"type":"record","name":"Order","fields":[{"name":"price","type":"Money"}]}'
PB_MONEY = 'syntax = "proto3";\npackage m;\n\nmessage Money {\n  int64 cents = 1;\n}\n'
PB_ORDER = 'syntax = "proto3";\n\nimport "money.proto";\n\nmessage Order {\n  m.Money price = 1;\n}\n'
AMOUNT, JS_ORDER = '{"type":"integer","maximum":10}', '{"type":"object","properties":{"a":{"$ref":"Amount"}}}'

REFERENCES: list[Record] = [
    schema_record("av_money", 1, 1, MONEY),
    schema_record("av_order", 1, 2, ORDER, references='{"name":"Money","subject":"av_money","version":1}'),
    schema_record("pb_money", 1, 3, PB_MONEY, kind="PROTOBUF"),
    schema_record(
        "pb_order", 1, 4, PB_ORDER, kind="PROTOBUF", references='{"name":"money.proto","subject":"pb_money","version":1}'
    ),
    schema_record("js_amount", 1, 5, AMOUNT, kind="JSON"),
    schema_record("js_order", 1, 6, JS_ORDER, kind="JSON", references='{"name":"Amount","subject":"js_amount","version":1}'),
]
LIFE: list[Record] = [
    ('{"keytype":"CONFIG","subject":"t","magic":0}', '{"subject":"t","compatibilityLevel":"NONE"}'),
    schema_record("t", 1, 1, avro("A")),
    schema_record("t", 2, 2, avro("B")),
    schema_record("t", 1, 1, avro("A"), deleted=True),
    (schema_record("t", 1, 1, "")[0], None),
    schema_record("d", 1, 3, avro("A")),
    ('{"keytype":"DELETE_SUBJECT","subject":"d","magic":0}', '{"subject":"d","version":1}'),
    (schema_record("d", 1, 3, "")[0], None),
    ('{"keytype":"MODE","subject":"r","magic":0}', '{"subject":"r","mode":"READONLY"}'),
    ('{"keytype":"MODE","subject":"r","magic":0}', None),
    ('{"keytype":"CLEAR_SUBJECT","subject":"i","magic":0}', '{"subject":"i"}'),
    ('{"keytype":"MODE","subject":"i","magic":0}', '{"subject":"i","mode":"IMPORT"}'),
    schema_record("i", 5, 42, avro("C")),
]


def holding(records: list[Record]) -> MemoryLog:
    found = [(key.encode(), None if value is None else value.encode()) for key, value in (NOOP, NOOP, *records)]
    return MemoryLog([LogRecord(offset, key, value) for offset, (key, value) in enumerate(found)])


def written(api: Api) -> list[Record]:
    return [(one.key.decode(), None if one.value is None else one.value.decode()) for one in api.log.records if one.key]


async def asked(api: Api, method: str, path: str, status: int, body: object, sent: object = None) -> None:
    found = await api(method, path, sent)
    if isinstance(found[1], dict):
        found[1].pop("guid", None)  # newer than 7.4
    assert found == (status, body), (method, path)


def test_schemas_with_references_are_written_byte_for_byte() -> None:
    async def scenario(api: Api) -> None:
        def bound(name: str, subject: str) -> dict[str, Any]:
            return {"references": [{"name": name, "subject": subject, "version": 1}]}

        protobuf, json_kind = {"schemaType": "PROTOBUF"}, {"schemaType": "JSON"}
        for number, (subject, text, members) in enumerate(
            (
                ("av_money", MONEY, {}),
                ("av_order", ORDER, bound("Money", "av_money")),
                ("pb_money", 'syntax="proto3"; package m; message Money{int64 cents=1;}', protobuf),
                (
                    "pb_order",
                    'syntax="proto3"; import "money.proto"; message Order{m.Money price=1;}',
                    protobuf | bound("money.proto", "pb_money"),
                ),
                ("js_amount", AMOUNT, json_kind),
                ("js_order", JS_ORDER, json_kind | bound("Amount", "js_amount")),
            ),
            1,
        ):
            assert await api.register(subject, text, **members) == (200, {"id": number})
        assert written(api) == REFERENCES

    serve(scenario)


def test_a_topic_with_references_is_served_as_by_who_wrote_it() -> None:
    async def scenario(api: Api) -> None:
        for base, order, first, text, name, kind in (
            ("av_money", "av_order", 2, ORDER, "Money", {}),
            ("pb_money", "pb_order", 4, PB_ORDER, "money.proto", {"schemaType": "PROTOBUF"}),
            ("js_amount", "js_order", 6, JS_ORDER, "Amount", {"schemaType": "JSON"}),
        ):
            references = [{"name": name, "subject": base, "version": 1}]
            await asked(api, "GET", f"/schemas/ids/{first}", 200, {**kind, "references": references, "schema": text})
            await asked(api, "GET", f"/subjects/{base}/versions/1/referencedby", 200, [first])
            reason = f"One or more references exist to the schema {{magic=1,keytype=SCHEMA,subject={base},version=1}}."
            await asked(api, "DELETE", f"/subjects/{base}/versions/1", 422, {"error_code": 42206, "message": reason})
            assert await api.register(order, text, references=references, **kind) == (200, {"id": first})

    serve(scenario, holding(REFERENCES))


def test_a_life_of_subjects_is_answered_and_written_alike() -> None:
    """But an id once given stays its schema's (ADR 0032): what comes again after a permanent deletion has id 1, not 3."""

    async def scenario(api: Api) -> None:
        def error(code: int, message: str) -> dict[str, Any]:
            return {"error_code": code, "message": message}

        last = "was not deleted first before being permanently deleted"
        await asked(api, "PUT", "/config/t", 200, {"compatibility": "NONE"}, {"compatibility": "NONE"})
        assert await api.register("t", avro("A")) == (200, {"id": 1})
        assert await api.register("t", avro("B")) == (200, {"id": 2})
        await asked(api, "DELETE", "/subjects/t/versions/1", 200, 1)
        await asked(api, "GET", "/subjects/t/versions", 200, [2])
        await asked(api, "GET", "/subjects/t/versions?deleted=true", 200, [1, 2])
        await asked(api, "GET", "/subjects/t/versions/1", 404, error(40402, "Version 1 not found."))
        await asked(api, "DELETE", "/subjects/t/versions/2?permanent=true", 404, error(40407, f"Subject 't' Version 2 {last}"))
        await asked(api, "DELETE", "/subjects/t/versions/1?permanent=true", 200, 1)
        assert await api.register("d", avro("A")) == (200, {"id": 1})
        await asked(api, "DELETE", "/subjects/d?permanent=true", 404, error(40405, f"Subject 'd' {last}"))
        await asked(api, "DELETE", "/subjects/d", 200, [1])
        soft = "Subject 'd' was soft deleted.Set permanent=true to delete permanently"
        await asked(api, "DELETE", "/subjects/d", 404, error(40404, soft))
        await asked(api, "DELETE", "/subjects/d?permanent=true", 200, [1])
        await asked(api, "PUT", "/mode/r", 200, {"mode": "READONLY"}, {"mode": "READONLY"})
        refused = error(42205, "Subject r in context . is in read-only mode")  # 7.4 left the context out
        await asked(api, "POST", "/subjects/r/versions", 422, refused, {"schema": avro("A")})
        await asked(api, "GET", "/mode", 200, {"mode": "READWRITE"})
        await asked(api, "GET", "/mode/r", 200, {"mode": "READONLY"})
        unset = "Subject 'nope' does not have subject-level mode configured"
        await asked(api, "GET", "/mode/nope", 404, error(40409, unset))
        await asked(api, "DELETE", "/mode/r", 200, {"mode": "READONLY"})
        await asked(api, "PUT", "/mode/i", 200, {"mode": "IMPORT"}, {"mode": "IMPORT"})
        assert await api.register("i", avro("C"), id=42, version=5) == (200, {"id": 42})
        await asked(api, "GET", "/subjects/i/versions/5/referencedby", 200, [])
        ours = [one for one in LIFE if "CLEAR_SUBJECT" not in one[0]]
        ours = [(key, value and value.replace('"id":3,', '"id":1,')) for key, value in ours]
        assert [one for one in written(api) if '"NOOP"' not in one[0]] == ours

    serve(scenario)


def test_a_topic_with_deletions_and_modes_is_served_as_by_who_wrote_it() -> None:
    async def scenario(api: Api) -> None:
        found = (await api("GET", "/schemas"))[1]
        assert [{name: value for name, value in one.items() if name != "guid"} for one in found] == [
            {"subject": "i", "version": 5, "id": 42, "schema": avro("C")},
            {"subject": "t", "version": 2, "id": 2, "schema": avro("B")},
        ]
        await asked(api, "GET", "/schemas/ids/1/versions", 404, {"error_code": 40403, "message": "Schema not found"})
        await asked(api, "GET", "/config/t", 200, {"compatibilityLevel": "NONE"})
        await asked(api, "GET", "/mode/i", 200, {"mode": "IMPORT"})
        assert (await api.register("t", avro("D")))[1]["id"] == 43  # 3 is not given again

    serve(scenario, holding(LIFE))


def obj(**members: Any) -> Any:
    return {"type": "object", **members}


A, B = {"a": {"type": "integer"}}, {"a": {"type": "integer"}, "b": {"type": "string"}}
INTEGER, STRING, ARRAY = {"type": "integer"}, {"type": "string"}, {"type": "array"}
CLOSED = {"additionalProperties": False}
# name: new schema, old schema, whether new is compatible BACKWARD, and FORWARD
JSON_PAIRS: dict[str, tuple[Any, Any, bool, bool]] = {
    "add_prop_open": (obj(properties=B), obj(properties=A), False, True),
    "remove_prop_open": (obj(properties=A), obj(properties=B), True, False),
    "add_prop_closed": (obj(**CLOSED, properties=B), obj(**CLOSED, properties=A), True, False),
    "remove_prop_closed": (obj(**CLOSED, properties=A), obj(**CLOSED, properties=B), False, True),
    "required_added": (obj(properties=A, required=["a"]), obj(properties=A), False, True),
    "required_removed": (obj(properties=A), obj(properties=A, required=["a"]), True, False),
    "addl_false_to_true": (obj(additionalProperties=True), obj(**CLOSED), True, False),
    "addl_true_to_false": (obj(**CLOSED), obj(additionalProperties=True), False, True),
    "type_widen": ({"type": ["string", "null"]}, STRING, True, False),
    "type_narrow": (STRING, {"type": ["string", "null"]}, False, True),
    "type_changed": (INTEGER, STRING, False, False),
    "enum_extended": ({"enum": ["a", "b"]}, {"enum": ["a"]}, True, False),
    "enum_narrowed": ({"enum": ["a"]}, {"enum": ["a", "b"]}, False, True),
    "maximum_added": ({**INTEGER, "maximum": 10}, INTEGER, False, True),
    "maximum_removed": (INTEGER, {**INTEGER, "maximum": 10}, True, False),
    "maximum_increased": ({**INTEGER, "maximum": 100}, {**INTEGER, "maximum": 10}, True, False),
    "maximum_decreased": ({**INTEGER, "maximum": 10}, {**INTEGER, "maximum": 100}, False, True),
    "minimum_added": ({**INTEGER, "minimum": 1}, INTEGER, False, True),
    "minimum_removed": (INTEGER, {**INTEGER, "minimum": 1}, True, False),
    "exclusive_max_added": ({**INTEGER, "exclusiveMaximum": 10}, INTEGER, False, True),
    "multiple_of_added": ({**INTEGER, "multipleOf": 5}, INTEGER, False, True),
    "min_length_added": ({**STRING, "minLength": 3}, STRING, False, True),
    "min_length_removed": (STRING, {**STRING, "minLength": 3}, True, False),
    "max_length_added": ({**STRING, "maxLength": 9}, STRING, False, True),
    "pattern_added": ({**STRING, "pattern": "^x"}, STRING, False, True),
    "min_items_added": ({**ARRAY, "minItems": 1}, ARRAY, False, True),
    "max_items_added": ({**ARRAY, "maxItems": 5}, ARRAY, False, True),
    "items_type_change": ({**ARRAY, "items": STRING}, {**ARRAY, "items": INTEGER}, False, False),
    "min_properties_added": (obj(minProperties=1), obj(), False, True),
    "anyof_subschema_added": ({"anyOf": [STRING, INTEGER]}, {"anyOf": [STRING]}, True, False),
    "anyof_subschema_removed": ({"anyOf": [STRING]}, {"anyOf": [STRING, INTEGER]}, False, True),
    "allof_subschema_added": ({"allOf": [obj(), obj(required=["a"])]}, {"allOf": [obj()]}, False, True),
    "oneof_subschema_added": ({"oneOf": [STRING, INTEGER]}, {"oneOf": [STRING]}, True, False),
    "not_added": ({"not": STRING}, obj(), False, False),
    "ref_target_type_change": (
        {"$ref": "#/$defs/T", "$defs": {"T": STRING}},
        {"$ref": "#/$defs/T", "$defs": {"T": INTEGER}},
        False,
        False,
    ),
    "dependency_added": (obj(dependentRequired={"a": ["b"]}), obj(), True, True),
    "if_then_added": (obj(**{"if": {"required": ["a"]}, "then": {"required": ["b"]}}), obj(), False, False),
}
U = "message U { int32 id = 1; }"
PROTOBUF_PAIRS: dict[str, tuple[str, str, bool, bool]] = {
    "field_added": ("message U { int32 id = 1; int32 x = 2; }", U, True, True),
    "field_removed": (U, "message U { int32 id = 1; int32 x = 2; }", True, True),
    "scalar_int_widen": ("message U { int64 id = 1; }", U, True, True),
    "scalar_int_to_string": ("message U { string id = 1; }", U, False, False),
    "scalar_sint_group": ("message U { sint64 id = 1; }", "message U { sint32 id = 1; }", True, True),
    "scalar_string_bytes": ("message U { bytes id = 1; }", "message U { string id = 1; }", True, True),
    "scalar_fixed32_group": ("message U { sfixed32 id = 1; }", "message U { fixed32 id = 1; }", True, True),
    "scalar_int_to_sint": ("message U { sint32 id = 1; }", U, False, False),
    "kind_scalar_to_msg": ("message M {}\nmessage U { M id = 1; }", U, False, False),
    "kind_scalar_to_enum": ("enum E { A = 0; }\nmessage U { E id = 1; }", U, True, True),
    "named_type_changed": (
        "message A {}\nmessage B {}\nmessage U { B f = 1; }",
        "message A {}\nmessage B {}\nmessage U { A f = 1; }",
        False,
        False,
    ),
    "label_singular_repeat": ("message U { repeated int32 id = 1; }", U, True, True),
    "oneof_move_in": (
        "message U { oneof x { int32 a = 1; int32 b = 2; } }",
        "message U { int32 a = 1; int32 b = 2; }",
        False,
        True,
    ),
    "oneof_move_out": (
        "message U { int32 a = 1; int32 b = 2; }",
        "message U { oneof x { int32 a = 1; int32 b = 2; } }",
        True,
        False,
    ),
    "oneof_added": ("message U { oneof x { int32 a = 1; } }", "message U { int32 a = 1; }", True, True),
    "proto3_optional": ("message U { optional int32 a = 1; }", "message U { int32 a = 1; }", True, True),
    "reserved_number": ("message U { reserved 2; int32 id = 1; }", U, True, True),
    "reserved_name": ('message U { reserved "old"; int32 id = 1; }', U, True, True),
    "map_value_widen": ("message U { map<string, int64> m = 1; }", "message U { map<string, int32> m = 1; }", True, True),
    "map_value_to_string": (
        "message U { map<string, string> m = 1; }",
        "message U { map<string, int32> m = 1; }",
        False,
        False,
    ),
    "scalar_to_map": ("message U { map<string, int32> m = 1; }", "message U { int32 m = 1; }", False, False),
    "enum_const_added": (
        "enum E { A = 0; B = 1; }\nmessage U { E e = 1; }",
        "enum E { A = 0; }\nmessage U { E e = 1; }",
        True,
        True,
    ),
    "enum_const_removed": (
        "enum E { A = 0; }\nmessage U { E e = 1; }",
        "enum E { A = 0; B = 1; }\nmessage U { E e = 1; }",
        True,
        True,
    ),
    "enum_added": (f"enum E {{ A = 0; }}\n{U}", U, True, True),
    "enum_removed": (U, f"enum E {{ A = 0; }}\n{U}", True, True),
    "message_added": (f"{U}\nmessage V {{ int32 a = 1; }}", U, True, False),
    "message_removed": (U, f"{U}\nmessage V {{ int32 a = 1; }}", False, True),
    "nested_scalar_change": (
        "message U { message N { string a = 1; } N n = 1; }",
        "message U { message N { int32 a = 1; } N n = 1; }",
        False,
        False,
    ),
    "package_change": (f"package b;\n{U}", f"package a;\n{U}", True, True),
}


# Where we say otherwise, and why.
OURS = {
    "dependency_added": (False, True),  # 7.4 does not know the word, later ones and we do
    "if_then_added": (False, True),  # whoever may send anything reads what a narrower schema allows
    "label_singular_repeat": (
        False,
        False,
    ),  # packed numbers are lost on who expects one; Confluent's misses it without a label
    "package_change": (False, False),  # so 7.9, too
}


def compatible(kind: str, level: str, new: str, old: str) -> bool:
    return not problems(level, parse(kind, new), parse(kind, old))


@pytest.mark.parametrize("name", JSON_PAIRS)
def test_json_schemas_are_judged_alike(name: str) -> None:
    new, old, *verdicts = JSON_PAIRS[name]
    backward, forward = OURS.get(name, verdicts)
    found = [compatible("JSON", level, json.dumps(new), json.dumps(old)) for level in ("BACKWARD", "FORWARD", "FULL")]
    assert found == [backward, forward, backward and forward]


@pytest.mark.parametrize("name", PROTOBUF_PAIRS)
def test_protobuf_schemas_are_judged_alike(name: str) -> None:
    new, old, *verdicts = PROTOBUF_PAIRS[name]
    backward, forward = OURS.get(name, verdicts)
    texts = [f'syntax = "proto3";\n{one}' for one in (new, old)]
    found = [compatible("PROTOBUF", level, *texts) for level in ("BACKWARD", "FORWARD", "FULL")]
    assert found == [backward, forward, backward and forward]

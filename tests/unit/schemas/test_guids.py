"""GUIDs and texts as Confluent's registry and Java's Avro make them: values that theirs pin in their own tests, or printed."""

import json
from typing import Any

import pytest

from headrace.schemas.avro_kind import parse
from headrace.schemas.protobuf_kind import parse as parse_protobuf
from headrace.schemas.references import Reference
from headrace.schemas.schema import Schema

NAMES = "io.confluent.kafka.example"
PERSON = json.dumps(
    {
        "type": "record",
        "name": "Person",
        "namespace": NAMES,
        "fields": [
            {"name": "name", "type": "string"},
            {"name": "age", "type": "int"},
            {"name": "ssn", "type": "string"},
            {"name": "user", "type": f"{NAMES}.User"},
            {"name": "address", "type": f"{NAMES}.Address"},
        ],
    },
    separators=(",", ":"),
)
REFERENCES = (Reference(f"{NAMES}.User", "User", 1), Reference(f"{NAMES}.Address", "Address", 2))
METADATA = {
    "tags": {"environment": ["production", "staging"], "team": ["data-engineering"]},
    "properties": {"owner": "data-team", "description": "Person schema for user management", "version": "1.0.0"},
    "sensitive": ["ssn", "credit-card"],
}


def rule(name: str, doc: str, kind: str, mode: str, rule_type: str, field: str, expr: str) -> dict[str, Any]:
    said = {
        "name": name,
        "doc": doc,
        "kind": kind,
        "mode": mode,
        "type": rule_type,
        "tags": ["PERSON"],
        "params": {"field": field},
    }
    return {**said, "expr": expr, "onSuccess": "none", "onFailure": "error", "disabled": False}


RULES = {
    "migrationRules": [
        rule("upgrade-rule-1", "Upgrade rule for field changes", "TRANSFORM", "UPGRADE", "FIELD_UPDATE", "name",
             "field.name = field.name.toUpperCase()"),
        rule("downgrade-rule-1", "Downgrade rule for compatibility", "TRANSFORM", "DOWNGRADE", "FIELD_DELETE", "ssn",
             "delete field.ssn"),
    ],
    "domainRules": [
        rule("validation-rule-1", "Validate age field", "CONDITION", "WRITE", "FIELD_VALIDATION", "age",
             "field.age >= 0 && field.age <= 150"),
        rule("masking-rule-1", "Mask sensitive data on read", "TRANSFORM", "READ", "DATA_MASKING", "ssn",
             "field.ssn = '***-**-****'"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("references", "metadata", "rules", "guid"),
    [
        ((), None, None, "d629bb05-ad85-3d20-fbcb-895de3c459f7"),
        ((), None, RULES, "c0708b8f-65f6-b698-bffe-45c1dfa8987c"),
        ((), METADATA, None, "2034166c-90a8-1166-0ff2-f5f62c80dbe0"),
        ((), METADATA, RULES, "d9877161-cfdf-d8c5-4eb4-ab37ed50e9d5"),
        (REFERENCES, None, None, "5c08d70e-5347-41b2-6369-199425d044eb"),
        (REFERENCES, None, RULES, "96825311-eb10-b7f5-48be-2a023b4c018e"),
        (REFERENCES, METADATA, None, "3619d8e0-2ee8-de51-0d9e-2520d39174d5"),
        (REFERENCES, METADATA, RULES, "589556fb-ad98-e8e0-94fa-e6da3455433a"),
    ],
)
def test_a_guid_is_that_of_confluents_registry(references: Any, metadata: Any, rules: Any, guid: str) -> None:
    assert Schema("AVRO", PERSON, references, metadata, rules).guid == guid


def test_an_empty_contract_is_not_the_guid_of_none() -> None:
    text = '{"type":"record","name":"myrecord","fields":[{"type":"string","default":null,"name":"f"}]}'
    rules = {"migrationRules": [{"kind": "TRANSFORM", "mode": "WRITEREAD", "disabled": False}]}
    assert Schema("AVRO", text).guid == "1d20cbb9-e5e3-5e97-54e7-da170b6e5ddb"
    assert Schema("AVRO", text, (), {}, rules).guid == "16f1eca5-ebf9-22b3-da80-212f8fa7342e"


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ({"type": "string"}, "string"),
        ({"type": "array", "z": 1, "items": {"type": "int", "doc": "d", "y": 2}},
         {"type": "array", "items": {"type": "int", "y": 2}, "z": 1}),
        ({"name": "U", "fields": [{"type": "string", "name": "n"}], "type": "record"},
         {"type": "record", "name": "U", "fields": [{"name": "n", "type": "string"}]}),
        ({"type": "record", "name": "R", "aliases": ["Q"], "custom": "x",
          "fields": [{"name": "a", "type": "int", "order": "descending", "aliases": ["b"], "default": 1, "doc": "d"}]},
         {"type": "record", "name": "R",
          "fields": [{"name": "a", "type": "int", "doc": "d", "default": 1, "order": "descending", "aliases": ["b"]}],
          "custom": "x", "aliases": ["Q"]}),
        ({"type": "record", "name": "com.x.H", "fields": [
            {"name": "d", "type": {"type": "fixed", "name": "F", "namespace": "", "size": 2}},
            {"name": "e", "type": {"type": "enum", "name": "E", "symbols": ["A"], "default": "A", "aliases": ["com.x.D"]}},
            {"name": "f", "type": ["null", "com.x.E"]}]},
         {"type": "record", "name": "H", "namespace": "com.x", "fields": [
             {"name": "d", "type": {"type": "fixed", "name": "F", "namespace": "", "size": 2}},
             {"name": "e", "type": {"type": "enum", "name": "E", "symbols": ["A"], "default": "A", "aliases": ["D"]}},
             {"name": "f", "type": ["null", "E"]}]}),
    ],
)  # fmt: skip
def test_an_avro_schema_is_written_as_java_writes_it(given: Any, written: Any) -> None:
    parsed = parse(json.dumps(given, indent=2))
    assert parsed.text == json.dumps(written, separators=(",", ":"))
    assert parse(parsed.text).text == parsed.text


def test_a_schema_with_references_can_be_written_out() -> None:
    class Dep:
        text = '{"type":"record","name":"Dep","namespace":"com.x","fields":[{"name":"v","type":"int"}]}'

    parsed = parse(
        '{"type":"record","name":"H","namespace":"com.x","fields":'
        '[{"name":"d","type":"com.x.Dep"},{"name":"e","type":["null","Dep"]}]}',
        [Dep()],
    )
    dep = '{"type":"record","name":"Dep","fields":[{"name":"v","type":"int"}]}'
    for text, first in ((parsed.text, '"Dep"'), (parsed.resolved, dep)):
        fields = f'[{{"name":"d","type":{first}}},{{"name":"e","type":["null","Dep"]}}]'
        assert text == f'{{"type":"record","name":"H","namespace":"com.x","fields":{fields}}}'
    assert parse(parsed.resolved).text == parsed.resolved


@pytest.mark.parametrize(
    "text",
    [
        'syntax = "proto3";\npackage p.q;\n\nmessage M {\n  string a = 1;\n}\n',
        'syntax = "proto3";\npackage a.b;\n\nmessage Outer {\n  Inner i = 1;\n  repeated Inner is = 2;\n  Kind k = 3;\n\n'
        "  message Inner {\n    string x = 1;\n  }\n  enum Kind {\n    K0 = 0;\n  }\n}\n",
        'syntax = "proto3";\n\nmessage M {\n  optional int32 a = 1;\n  repeated string b = 2 [packed = false];\n'
        "  map<int32, M> c = 3;\n}\n",
        'syntax = "proto3";\n\nimport "google/protobuf/any.proto";\nimport "google/protobuf/wrappers.proto";\n\nmessage M {\n'
        "  google.protobuf.Any a = 1;\n  google.protobuf.StringValue s = 2;\n}\n",
        'syntax = "proto3";\n\nmessage M {\n  E e = 1;\n}\nenum E {\n  E_UNKNOWN = 0;\n  E_A = 1;\n}\n',
        'syntax = "proto2";\n\nmessage M {\n  optional string a = 1 [default = "x"];\n}\n',
        'syntax = "proto2";\n\nmessage M {\n  required int32 a = 1;\n  optional string b = 2 [default = "hi"];\n\n'
        "  extensions 100 to 199;\n}\n\nextend M {\n  optional int32 ext = 100;\n}\n",
        'syntax = "proto3";\n\nmessage A {\n  string a = 1;\n}\nmessage B {\n  A a = 1;\n\n  oneof o {\n    string b = 2;\n'
        "    A c = 3;\n  }\n}\n",
        'syntax = "proto3";\n\noption java_multiple_files = true;\noption go_package = "x/y";\n\nmessage M {\n'
        "  string a = 1 [deprecated = true];\n}\n\nservice S {\n  rpc A (stream M) returns (stream M);\n"
        "  rpc B (M) returns (M) {\n    option deprecated = true;\n  };\n}\n",
    ],
)
def test_a_protobuf_schema_is_written_as_confluents_registry_writes_it(text: str) -> None:
    assert parse_protobuf(text.replace("\n\n", "\n") + "// a comment\n").text == text

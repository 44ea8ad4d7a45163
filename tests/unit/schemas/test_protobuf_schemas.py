"""Protobuf schemas: what is one, how it is written, and what may follow what (as Confluent's registry decides)."""

import base64
from collections.abc import Callable
from functools import cache

import pytest
from google.protobuf import descriptor_pb2, timestamp_pb2

from headrace.schemas.compatibility import problems
from headrace.schemas.invalid import InvalidSchemaError
from headrace.schemas.protobuf_kind import ProtobufSchema, identity, parse
from headrace.schemas.references import Resolved

OTHER = Resolved("o.proto", 'syntax = "proto3"; package o; message Other { optional int32 i = 1; map<int32, Other> m = 2; }')
EVERYTHING = r"""syntax = "proto2"; package q; import "google/protobuf/descriptor.proto"; import public "o.proto";
option java_package = "x.y"; option optimize_for = CODE_SIZE;
extend google.protobuf.FieldOptions { optional string note = 50000; optional Sub sub = 50001; }
message Sub { optional int32 a = 1; repeated string b = 2; extensions 100 to 199, 1000 to max; }
extend Sub { optional int32 ext = 100; }  // a comment
message M { required int32 a = 1 [default = 7, (note) = "h\"i\n", (sub) = {a: 3 b: "x" b: "y"}, deprecated = true,
    json_name = "AA"];
  optional bytes by = 2 [default = "\x00\xff'\""]; optional string s = 3 [default = "ü'"];
  optional double d = 4 [default = inf];
  repeated group G = 5 { optional int32 x = 1; } repeated int32 pk = 9 [packed = true]; optional E e = 10 [default = B];
  oneof o { int32 p = 6; string r = 7; group H = 8 { optional M m = 1; } } optional o.Other oo = 11;
  extend Sub { optional M mm = 101; }
  reserved 20 to max; reserved "old";
  enum E { option allow_alias = true; A = 0; B = 1; C = 1; N = -1; reserved 5, 7 to max; reserved "X"; } }
service S { option deprecated = true; rpc A(M) returns (stream Sub) { option idempotency_level = IDEMPOTENT; }
  rpc B(stream M) returns (Sub); }
"""
EDITION = """edition = "2023"; package e; option features.field_presence = IMPLICIT;
message A { int32 a = 1 [features.field_presence = EXPLICIT]; A b = 2 [features.message_encoding = DELIMITED];
  reserved foo; }"""

PROTO2 = 'syntax = "proto2"; package p;'


def message(fields: str, more: str = "", *, head: str = 'syntax = "proto3"; package p;') -> ProtobufSchema:
    return parse(f"{head} message M {{ {fields} }} {more}")


Later = Callable[[], ProtobufSchema]


def later(fields: str, more: str = "", *, head: str = 'syntax = "proto3"; package p;') -> Later:
    """A message that is compiled in its test: each takes a process."""
    return cache(lambda: message(fields, more, head=head))


@pytest.mark.parametrize(("text", "references"), [(EVERYTHING, [OTHER]), (EDITION, [])])
def test_it_is_written_in_one_way_and_nothing_is_lost(text: str, references: list[Resolved]) -> None:
    parsed = parse(text, references)
    assert "a comment" not in parsed.text
    assert parsed.text.startswith(text[:8])
    again = parse(parsed.text, references)
    assert again.text == parsed.text
    assert again.serialized == parsed.serialized
    assert parse(parsed.serialized, references).text == parsed.text
    normal = parse(parsed.normal_text, references)
    assert normal.normal_text == parsed.normal_text
    assert problems("FULL", normal, parsed) == []


def test_what_everybody_knows_is_imported_without_a_reference() -> None:
    imports = (
        "google/type/money.proto",
        "confluent/meta.proto",
        "confluent/type/decimal.proto",
        "confluent/types/decimal.proto",
    )
    head = 'syntax = "proto3"; package p;' + "".join(f'import "{name}";' for name in imports)
    fields = 'google.type.Money m = 1; confluent.type.Decimal d = 2; string s = 3 [(confluent.field_meta).tags = "PII"];'
    parsed = message(fields, head=head)
    assert '  string s = 3 [(confluent.field_meta) = { tags: "PII" }];' in parsed.text
    assert parse(parsed.serialized).text == parsed.text
    own = message("Cash m = 1;", "message Cash { string currency_code = 1; int64 units = 2; int32 nanos = 3; }")
    [broken] = problems("BACKWARD", own, message("google.type.Money m = 1;", head=head))
    assert "from Money to Cash" in broken
    with pytest.raises(InvalidSchemaError, match=r"google/api/http\.proto: File not found"):
        parse('syntax = "proto3"; import "google/api/http.proto";')


def test_a_descriptor_may_name_its_types_relatively_as_confluents_registry_writes_them() -> None:
    text = (
        'syntax = "proto3"; package a.b; import "google/protobuf/timestamp.proto"; import "o.proto"; enum E { Z = 0; }'
        "message M { E e = 1; M.N n = 2; message N { E f = 1; M m = 2; } google.protobuf.Timestamp t = 3; o.Other o = 4; }"
    )
    file = descriptor_pb2.FileDescriptorProto.FromString(base64.b64decode(parse(text, [OTHER]).serialized))
    file.name = "any.proto"
    [outer] = file.message_type
    for one in (*outer.field, *outer.nested_type[0].field):
        one.type_name = one.type_name.removeprefix(".a.b.").removeprefix(".")
    assert [one.type_name for one in outer.field] == ["E", "M.N", "google.protobuf.Timestamp", "o.Other"]
    given = base64.b64encode(file.SerializeToString()).decode()
    assert parse(given, [OTHER]).text == parse(text, [OTHER]).text
    outer.field[0].type_name = "Nowhere"
    with pytest.raises(InvalidSchemaError, match="the descriptor cannot be written as text"):
        parse(base64.b64encode(file.SerializeToString()).decode(), [OTHER])


def test_normalized_the_order_of_fields_and_imports_does_not_count() -> None:
    imports = ['import "google/protobuf/any.proto";', 'import "google/protobuf/timestamp.proto";']
    fields = ["google.protobuf.Any a = 1;", "google.protobuf.Timestamp t = 2;"]
    one, other = (
        parse(f'syntax = "proto3"; {"".join(imports[::step])} message M {{ {"".join(fields[::step])} }}') for step in (1, -1)
    )
    assert one.text != other.text
    assert one.normal_text == other.normal_text
    assert ".google.protobuf.Any a = 1;" in one.normal_text


def test_spaces_and_comments_do_not_count_and_strings_do() -> None:
    plain = 'syntax = "proto3";\nmessage M { string a = 1; }'
    assert identity(plain) == identity('syntax="proto3"; // x\n/* y */ message M{string a=1;}')
    assert identity(plain) != identity(plain.replace("proto3", "proto3 "))
    assert identity('option a = "//";') != identity('option a = "";')


@pytest.mark.parametrize(
    ("new", "old"),
    [
        (later("int32 a = 1; string b = 2;"), later("int32 a = 1;")),
        (later("int32 a = 1;"), later("int32 a = 1; string b = 2;")),
        (later("int64 b = 1;"), later("uint32 a = 1;")),
        (later("E a = 1;", "enum E { Z = 0; }"), later("int32 a = 1;")),
        (later("bytes a = 1;"), later("string a = 1;")),
        (later("repeated string a = 1;"), later("string a = 1;")),
        (later("sfixed32 a = 1;"), later("fixed32 a = 1;")),
        (later("map<string, int64> a = 1;"), later("map<string, int32> a = 1;")),
        (later("oneof o { int32 a = 1; string c = 3; }"), later("int32 a = 1;")),
        (later("int32 a = 1;", "message N {}"), later("int32 a = 1;")),
        (later("optional int32 a = 1;"), later("int32 a = 1;")),
        (later("E a = 1;", "enum E { Z = 0; Y = 1; }"), later("E a = 1;", "enum E { Z = 0; X = 2; }")),
    ],
)
def test_what_reads_the_same_bytes_may_follow(new: Later, old: Later) -> None:
    assert problems("BACKWARD", new(), old()) == []
    assert problems("FULL", new(), new()) == []


@pytest.mark.parametrize(
    ("new", "old", "says"),
    [
        (later("string a = 1;"), later("int32 a = 1;"), "field p.M.a (number 1) changed its type from int32 to string"),
        (later("sint32 a = 1;"), later("int32 a = 1;"), "from int32 to sint32"),
        (later("repeated int32 a = 1;"), later("int32 a = 1;"), "between one number and repeated ones"),
        (later("N a = 1;", "message N {} message O {}"), later("O a = 1;", "message N {} message O {}"), "from O to N"),
        (later("map<string, string> a = 1;"), later("map<string, int32> a = 1;"), "p.M.a.value (number 2)"),
        (later("int32 a = 1;"), later("int32 a = 1;", "message N {}"), "message p.N was removed"),
        (later("message I { string x = 1; } I i = 1;"), later("message I { bool x = 1; } I i = 1;"), "field p.M.I.x"),
        (later("oneof o { int32 a = 1; int32 b = 2; }"), later("int32 a = 1; int32 b = 2;"), "fields 1, 2 were moved"),
        (later("oneof o { int32 a = 1; int32 b = 2; }"), later("int32 a = 1; oneof o { int32 b = 2; }"), "had fields"),
        (later("oneof o { int32 a = 1; }"), later("oneof o { int32 a = 1; int32 b = 2; }"), "removed from oneof p.M.o"),
        (later("int32 a = 1;", head='syntax = "proto3"; package r;'), later("int32 a = 1;"), "package changed"),
        (later("required int32 a = 1;", head=PROTO2), later("", head=PROTO2), "required field p.M.a (number 1) was added"),
        (later("required int32 a = 1;", head=PROTO2), later("optional int32 a = 1;", head=PROTO2),
         "field p.M.a (number 1) became required"),
    ],
)  # fmt: skip
def test_what_reads_them_otherwise_may_not_and_the_place_is_told(new: Later, old: Later, says: str) -> None:
    found = problems("BACKWARD", new(), old())
    assert any(says in one for one in found), found
    assert problems("FORWARD", old(), new())


def test_a_message_of_another_file_is_compared_too() -> None:
    text = 'syntax = "proto3"; import "o.proto"; message M { o.Other other = 1; }'
    changed = Resolved(OTHER.name, OTHER.text.replace("int32 i", "string i"))
    [found] = problems("BACKWARD", parse(text, [changed]), parse(text, [OTHER]))
    assert "field o.Other.i (number 1)" in found


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('syntax = "proto3"; message A { Nope t = 1; }', '1:32: "Nope" is not defined'),
        ('syntax = "proto3"; message A { int32 a = 1; int32 b = 1; }', "1:55"),
        ('syntax = "proto3";\nimport "absent.proto";', "absent.proto"),
        ('syntax = "proto3"; import "../../etc/passwd";', "passwd"),
        ("nothing", "Expected top-level statement"),
        ("AAAA", "Expected top-level statement"),
        (
            base64.b64encode(descriptor_pb2.FileDescriptorProto(syntax="proto9", package="a b").SerializeToString()).decode(),
            "loss",
        ),
    ],
)
def test_what_does_not_compile_is_refused_with_the_place(text: str, says: str) -> None:
    with pytest.raises(InvalidSchemaError) as refused:
        parse(text)
    assert says in str(refused.value)
    assert "/tmp" not in str(refused.value)


@pytest.mark.parametrize(
    "name", ["/etc/x.proto", "../x.proto", "a/../../x.proto", "a\0b", "x" * 300, "headrace-main-schema.proto"]
)
def test_a_reference_has_a_name_that_stays_where_it_is_compiled(name: str) -> None:
    with pytest.raises(InvalidSchemaError, match=r"imports|written"):
        parse('syntax = "proto3";', [Resolved(name, OTHER.text)])


def test_a_descriptor_is_as_good_as_a_text() -> None:
    parsed = parse(base64.b64encode(timestamp_pb2.DESCRIPTOR.serialized_pb).decode())
    assert "message Timestamp {\n  int64 seconds = 1;\n  int32 nanos = 2;\n}" in parsed.text

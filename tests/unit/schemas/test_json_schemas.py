"""JSON Schemas: what is one, what is the same, and what may follow what (as Confluent's registry decides)."""

import json
from typing import Any

import pytest

from headrace.schemas.compatibility import problems
from headrace.schemas.invalid import InvalidSchemaError
from headrace.schemas.json_kind import identity, parse
from headrace.schemas.references import Resolved

INT, TEXT, NUMBER = {"type": "integer"}, {"type": "string"}, {"type": "number"}


def thing(properties: dict[str, Any], *required: str, **more: Any) -> dict[str, Any]:
    """An object of which nothing else is allowed, unless `more` says so."""
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False, **more}


def open_thing(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


LIST = {
    "definitions": {"node": {"type": "object", "properties": {"next": {"$ref": "#/definitions/node"}}}},
    "$ref": "#/definitions/node",
}

MAY_FOLLOW = [  # (new, old)
    (NUMBER, INT),
    (True, INT),
    ({}, TEXT),
    (INT, False),
    ({"type": ["integer", "string"]}, INT),
    ({"oneOf": [INT, TEXT]}, INT),
    ({"oneOf": [INT, TEXT, NUMBER]}, {"oneOf": [INT, TEXT]}),
    ({"anyOf": [INT, TEXT]}, {"oneOf": [TEXT, INT]}),
    ({"allOf": [INT]}, {"allOf": [INT, {"minimum": 3}]}),
    ({"enum": ["a", "b", "c"]}, {"enum": ["b", "a"]}),
    ({"enum": ["a", "b"]}, {"const": "a"}),
    ({"type": "string", "maxLength": 9}, {"type": "string", "maxLength": 8}),
    (TEXT, {"type": "string", "pattern": "^a", "minLength": 2}),
    ({"type": "integer", "minimum": 1}, {"type": "integer", "minimum": 2}),
    ({"type": "integer", "multipleOf": 3}, {"type": "integer", "multipleOf": 9}),
    (thing({"a": INT, "b": TEXT}), thing({"a": INT})),
    (thing({"a": INT, "b": {**TEXT, "default": "x"}}, "b"), thing({"a": INT})),
    (thing({"a": INT}), thing({"a": INT}, "a")),
    (open_thing({}), open_thing({"a": INT})),
    (open_thing({"a": {}}), open_thing({})),
    (thing({"a": INT}, additionalProperties=TEXT), thing({"a": INT, "b": TEXT})),
    (thing({}, patternProperties={"^x_": TEXT}), thing({"x_a": TEXT})),
    (thing({"a": INT}, title="t", description="d"), thing({"a": INT})),
    ({"type": "array", "items": NUMBER}, {"type": "array", "items": INT, "uniqueItems": True}),
    ({"items": [INT, TEXT], "additionalItems": False}, {"items": [INT], "additionalItems": False}),
    ({"not": INT}, {"not": NUMBER}),
    (TEXT, {"type": "string", "enum": ["a"]}),
    ({"type": "string", "enum": ["a", "b"]}, {"enum": ["a"], "type": "string"}),
    ({"type": "number", "multipleOf": 0.1}, {"type": "number", "multipleOf": 0.3}),
    ({"allOf": [TEXT, {"type": "string"}]}, {"allOf": [TEXT]}),
    ({**NUMBER, "connect.type": "bytes"}, {**TEXT, "connect.type": "bytes"}),
    ({"items": [INT], "additionalItems": True}, {"items": [INT, TEXT], "additionalItems": False}),
    (thing({"a": {"oneOf": [{"type": "null"}, TEXT]}}), thing({"a": TEXT})),
    (LIST, LIST),
]  # fmt: skip
MAY_NOT_FOLLOW = [  # (new, old, where it breaks)
    (INT, NUMBER, "#"),
    (INT, TEXT, "#: type changed from string to integer"),
    (False, INT, "#"),
    (INT, {}, "#"),
    ({"oneOf": [INT]}, {"oneOf": [INT, TEXT]}, "oneOf"),
    ({"allOf": [INT, {"minimum": 3}]}, {"allOf": [INT]}, "allOf"),
    ({"oneOf": [INT, TEXT]}, {"anyOf": [INT, TEXT]}, "anyOf changed to oneOf"),
    ({"enum": ["a"]}, {"enum": ["a", "b"]}, "#/enum"),
    ({"type": "string", "maxLength": 7}, {"type": "string", "maxLength": 8}, "#/maxLength: changed from 8 to 7"),
    ({"type": "string", "pattern": "^a"}, TEXT, "#/pattern"),
    ({"type": "integer", "exclusiveMinimum": 3}, {"type": "integer", "exclusiveMinimum": 2}, "#/exclusiveMinimum"),
    ({"type": "integer", "multipleOf": 4}, {"type": "integer", "multipleOf": 6}, "#/multipleOf"),
    (thing({"a": INT}, "a"), thing({"a": INT}), "#/required: a"),
    (thing({"a": INT, "b": INT}, "b"), thing({"a": INT}), "#/properties/b: it was added as required"),
    (thing({}), thing({"a": INT}), "#/properties/a: it was removed"),
    (open_thing({"a": INT}), open_thing({}), "#/properties/a: it was added where anything was allowed"),
    (thing({"a": INT}), open_thing({"a": INT}), "#/additionalProperties"),
    (thing({"a": {"type": "object", "properties": {"b": INT}}}), thing({"a": {"type": "object", "properties": {"b": TEXT}}}),
     "#/properties/a/properties/b: type changed from string to integer"),
    (thing({"a": INT}, additionalProperties=INT), thing({"a": INT, "b": TEXT}), "#/properties/b"),
    (thing({}, dependencies={"a": ["b"]}), thing({}), "#/dependencies/a"),
    ({"type": "array", "items": INT}, {"type": "array", "items": NUMBER}, "#/items"),
    ({"type": "array", "maxItems": 3}, {"type": "array"}, "#/maxItems"),
    ({"not": NUMBER}, {"not": INT}, "#/not"),
    (thing({"a": INT}, **{"if": {"required": ["a"]}, "then": False}), thing({"a": INT}), "#"),
    (thing({}, **{"if": {}, "then": False}), thing({}, **{"if": {}, "then": {}}), "#/if: the condition changed"),
    ({"type": "string", "enum": ["a"]}, {"type": "string", "enum": ["a", "b"]}, "#/enum: ['b'] was removed"),
    ({"type": "string", "enum": ["a"]}, TEXT, "#/enum: it was added"),
    ({"allOf": [NUMBER, TEXT]}, TEXT, "#: type changed from string to allOf"),
    ({"enum": [True]}, {"enum": [1]}, "#/enum"),
    ({"type": "number", "multipleOf": 0.3}, {"type": "number", "multipleOf": 0.1}, "#/multipleOf"),
]  # fmt: skip


def schema(tree: Any) -> Any:
    return parse(json.dumps(tree))


@pytest.mark.parametrize(("new", "old"), MAY_FOLLOW)
def test_what_allows_all_that_was_allowed_may_follow(new: Any, old: Any) -> None:
    assert problems("BACKWARD", schema(new), schema(old)) == []
    assert problems("FORWARD", schema(old), schema(new)) == []


@pytest.mark.parametrize(("new", "old", "where"), MAY_NOT_FOLLOW)
def test_what_may_refuse_something_may_not_and_the_place_is_told(new: Any, old: Any, where: str) -> None:
    found = problems("BACKWARD", schema(new), schema(old))
    assert any(f"new reader, old data: {where}" in one or where in one for one in found), found
    assert problems("FULL", schema(new), schema(old))


def test_every_schema_may_follow_itself() -> None:
    types = {"x": {"type": ["null"]}, "z": open_thing({"a": INT})}
    mixed = {"definitions": types, "oneOf": [{"$ref": "#/definitions/x"}, {"anyOf": [{"$ref": "#/definitions/z"}, INT]}]}
    for tree in (mixed, *(tree for pair in (*MAY_FOLLOW, *MAY_NOT_FOLLOW) for tree in pair[:2])):
        assert problems("FULL", schema(tree), schema(tree)) == []


def union_of(kinds: str, **changed: str) -> Any:
    """Types of a trade, each of which holds any of them."""
    any_of_them = {"oneOf": [{"$ref": f"#/definitions/{kind}"} for kind in kinds]}
    types = {kind: open_thing({"id": {"type": changed.get(kind, "string")}, "of": any_of_them}) for kind in kinds}
    return {"definitions": types, **open_thing({"product": any_of_them})}


def test_types_that_hold_one_another_are_compared_whatever_their_number() -> None:
    many = "ABCDEFGHIJKL"
    assert problems("FULL", schema(union_of(many)), schema(union_of(many))) == []
    assert problems("BACKWARD", schema(union_of(many + "M")), schema(union_of(many))) == []
    assert problems("FORWARD", schema(union_of(many + "M")), schema(union_of(many)))
    assert problems("BACKWARD", schema(union_of("AB", A="number")), schema(union_of("AB")))


def test_a_pair_that_went_together_only_on_the_word_of_one_that_does_not_is_looked_at_again() -> None:
    def tree(first: str, second: str) -> Any:
        def holding(kind: str, to: str) -> Any:
            return open_thing({"id": {"type": kind}, "ref": {"oneOf": [{"$ref": f"#/definitions/{to}"}]}})

        types = {"A": holding(first, "C"), "B": holding(second, "C"), "C": holding("integer", "A")}
        return {"definitions": types, "oneOf": [{"$ref": "#/definitions/A"}, {"$ref": "#/definitions/B"}]}

    assert problems("BACKWARD", schema(tree("boolean", "number")), schema(tree("integer", "boolean")))


def test_a_change_within_a_type_that_holds_itself_is_told_once_with_its_place() -> None:
    def chain(kind: str) -> Any:
        return {"definitions": {"node": open_thing({"next": {"$ref": "#/definitions/node"}, "id": {"type": kind}})},
                **open_thing({"first": {"$ref": "#/definitions/node"}})}  # fmt: skip

    [told] = problems("BACKWARD", schema(chain("string")), schema(chain("integer")))
    assert "#/properties/first/properties/id: type changed from integer to string" in told


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "line 1"),
        ("7", "an object"),
        ('{"type":"strin"}', "$.type"),
        ('{"properties":{"a":{"minLength":-1}}}', "$.properties.a.minLength"),
        ('{"$ref":"#/definitions/none"}', "points to nothing"),
        ('{"properties":{"a":{"$ref":"other.json"}}}', "other.json"),
        ('{"default":NaN}', "JSON"),
        ('{"title":"\\ud800"}', "surrogate"),
        ('{"a":' * 3000 + "1" + "}" * 3000, "recursion"),
    ],
)
def test_what_is_no_schema_is_refused_with_the_place(text: str, says: str) -> None:
    with pytest.raises(InvalidSchemaError, match=says.replace("$", r"\$")):
        parse(text)


def test_a_reference_is_followed_by_its_name_and_by_the_id_of_the_root() -> None:
    wide, narrow = (Resolved("money.json", json.dumps(thing({"amount": kind}))) for kind in (NUMBER, INT))
    for root in ({}, {"$id": "https://example.com/schemas/order.json"}):
        order = json.dumps({**root, **thing({"price": {"$ref": "money.json"}})})
        assert problems("BACKWARD", parse(order, [wide]), parse(order, [narrow])) == []
        [found] = problems("BACKWARD", parse(order, [narrow]), parse(order, [wide]))
        assert "#/properties/price/properties/amount" in found


def test_the_order_of_members_does_not_count_and_is_kept_unless_normalized() -> None:
    one, other = '{"type":"integer", "title":"t"}', '{"title":"t","type":"integer"}'
    assert identity(one) == identity(other)
    assert parse(one).text == '{"type":"integer","title":"t"}'
    assert parse(one).normal_text == parse(other).normal_text == other


def test_what_would_take_for_ever_is_not_tried() -> None:
    evil = thing({"a" * 100: TEXT}, patternProperties={"(a+)+$": TEXT, "(": TEXT})
    assert problems("BACKWARD", schema(thing({}, patternProperties={"(a+)+$": TEXT})), schema(thing({"a" * 60 + "b": TEXT})))
    assert problems("FULL", schema(evil), schema(evil)) == []
    nested: Any = INT
    for _ in range(5):
        nested = {"anyOf": [nested, {"type": "array", "items": nested}, TEXT]}
    assert problems("FULL", schema(nested), schema(nested)) == []
    for _ in range(6):
        nested = {"anyOf": [nested, {"type": "array", "items": nested}, TEXT]}
    assert problems("BACKWARD", schema(nested), [schema({"anyOf": [nested, INT]})])  # too large to compare

"""Requests that are well formed and mean harm, or nothing: each has an answer in time, never a 500 or a traceback."""

import json
import re
import time
from collections.abc import Iterator
from random import Random
from typing import Any

import httpx
import pytest

from tests.fuzz.target import assert_alive, faults, fuzzed_registry
from tests.processes import Part

DEEP = 10_000
ANSWER_S = 60
PROTO3 = 'syntax = "proto3"; '
TYPES = ("AVRO", "JSON", "PROTOBUF")
BOMBS = (
    "(a+)+$",
    "(a|aa)+$",
    "^(([a-z])+.)+[A-Z]([a-z])+$",
    "(x+x+)+y",
    "a{1,99999}",
    "(?:a?){60}a{60}",
    "(" * 5000 + ")" * 5000,
    "[a-",
)


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Part]:
    with fuzzed_registry(tmp_path_factory.mktemp("fuzzed")) as running:
        yield running
        assert_alive(running)
        assert faults(running) == []


@pytest.fixture(scope="module")
def client(part: Part) -> Iterator[httpx.Client]:
    headers = {"Content-Type": "application/vnd.schemaregistry.v1+json"}
    with httpx.Client(base_url=f"http://127.0.0.1:{part.ports['http']}", headers=headers, timeout=ANSWER_S) as one:
        yield one


def sent(client: httpx.Client, method: str, path: str, body: Any = None, *, raw: str | None = None) -> tuple[int, Any]:
    """An answer that is none of the server's errors, and JSON."""
    content = raw if raw is not None else None if body is None else json.dumps(body)
    found = client.request(method, path, content=content)
    assert found.status_code < 500, (method, path, found.text[:500])
    is_text = path.partition("?")[0].rstrip("/").endswith("/schema") and found.status_code == 200
    return found.status_code, found.text if is_text or not found.content else found.json()


def avro(names: list[str]) -> str:
    fields = ",".join(f'{{"name":"{name}","type":"string"}}' for name in names)
    return f'{{"type":"record","name":"R","fields":[{fields}]}}'


NESTED = {
    "arrays": ("AVRO", '{"type":"array","items":' * DEEP + '"int"' + "}" * DEEP),
    "properties": ("JSON", '{"properties":{"a":' * DEEP + "{}" + "}}" * DEEP),
    "nots": ("JSON", '{"not":' * DEEP + "{}" + "}" * DEEP),
    "messages": ("PROTOBUF", PROTO3 + "message M {" * DEEP + "}" * DEEP),
    "options": ("PROTOBUF", PROTO3 + "option (x) = " + "{a:" * DEEP + "1" + "}" * DEEP + ";"),
    "types": ("PROTOBUF", PROTO3 + "message M { " + ".".join("a" * DEEP) + " x = 1; }"),
}


@pytest.mark.parametrize("name", NESTED)
def test_schemas_of_ten_thousand_levels_are_refused(client: httpx.Client, name: str) -> None:
    kind, text = NESTED[name]
    body = {"schema": text, "schemaType": kind}
    for path in ("/subjects/deep/versions", "/subjects/deep"):
        status, answer = sent(client, "POST", path, body)
        assert (status, answer["error_code"]) == (422, 42201)
    status, answer = sent(client, "POST", "/compatibility/subjects/deep/versions?verbose=true", body)
    assert (status, answer["is_compatible"]) == (200, False)


@pytest.mark.parametrize("levels", [900, DEEP])
def test_bodies_of_many_levels_are_refused(client: httpx.Client, levels: int) -> None:
    tree, lists = '{"a":' * levels + "1" + "}" * levels, "[" * levels + "]" * levels
    for raw in (
        f'{{"schema":{lists}}}',
        f'{{"schema":"\\"int\\"","metadata":{{"properties":{tree}}}}}',
        f'{{"schema":"\\"int\\"","metadata":{{"tags":{tree}}}}}',
        f'{{"schema":"\\"int\\"","ruleSet":{{"domainRules":{lists}}}}}',
        f'{{"schema":"\\"int\\"","references":{lists}}}',
    ):
        assert sent(client, "POST", "/subjects/levels/versions", raw=raw)[0] in (400, 422)
    for raw in (
        f'{{"defaultMetadata":{{"tags":{tree}}}}}',
        f'{{"overrideRuleSet":{{"domainRules":{lists}}}}}',
        f'{{"alias":{lists}}}',
    ):
        assert sent(client, "PUT", "/config/levels", raw=raw)[0] in (400, 422)
    assert sent(client, "PUT", "/mode/levels", raw=f'{{"mode":{lists}}}')[0] in (400, 422)


def test_large_schemas_are_compared_in_time_or_refused_with_the_limit(client: httpx.Client) -> None:
    names = [f"f{number}" for number in range(10_000)]
    wide = {
        "wide-avro": {"schema": avro(names)},
        "wide-json": {"schema": json.dumps({"type": "object", "properties": {name: {"type": "string"} for name in names}})},
        "wide-protobuf": {
            "schema": PROTO3
            + "message M {"
            + "".join(f"string {name} = {number};" for number, name in enumerate(names, 1))
            + "}"
        },
        "wide-union": {"schema": json.dumps([{"type": "record", "name": name, "fields": []} for name in names[:500]])},
        "wide-one-of": {
            "schema": json.dumps(
                {"oneOf": [{"type": "object", "properties": {name: {"type": "string"}}} for name in names[:300]]}
            )
        },
    }
    for subject, body in wide.items():
        kind = {"wide-json": "JSON", "wide-one-of": "JSON", "wide-protobuf": "PROTOBUF"}.get(subject, "AVRO")
        start = time.monotonic()
        assert sent(client, "POST", f"/subjects/{subject}/versions", {**body, "schemaType": kind})[0] == 200
        changed = {"schema": re.sub(r"\bf0\b", "g0", body["schema"]), "schemaType": kind}
        assert sent(client, "POST", f"/subjects/{subject}/versions", changed)[0] in (200, 409)
        assert time.monotonic() - start < ANSWER_S, subject
    status, answer = sent(client, "POST", "/subjects/wider/versions", {"schema": avro([*names, "one_more"])})
    assert (status, answer["error_code"]) == (422, 42201)
    assert "a record of 10001 fields: 10000 are the most" in answer["message"]
    union = json.dumps([{"type": "record", "name": name, "fields": []} for name in names[:501]])
    assert (
        "a union of 501 schemas: 500 are the most"
        in sent(client, "POST", "/subjects/w/versions", {"schema": union})[1]["message"]
    )
    assert sent(client, "POST", "/subjects/wider/versions", {"schema": '"' + "a" * 2_000_000 + '"'})[0] == 413
    references = [{"name": f"n{number}", "subject": "a-value", "version": 1} for number in range(9_000)]
    status, answer = sent(client, "POST", "/subjects/w/versions", {"schema": '"int"', "references": references})
    assert (status, answer["error_code"]) == (422, 42201)


def test_references_that_lead_back_are_refused(client: httpx.Client) -> None:
    def record(name: str, kind: str | None = None) -> str:
        fields = [{"name": "x", "type": ["null", kind], "default": None}] if kind else []
        return json.dumps({"type": "record", "name": name, "fields": fields})

    itself = {"schema": record("A", "B"), "references": [{"name": "B", "subject": "ring-a", "version": 1}]}
    assert sent(client, "POST", "/subjects/ring-a/versions", itself)[0] == 422
    assert sent(client, "POST", "/subjects/ring-a/versions", {"schema": record("A")})[0] == 200
    second = {"schema": record("B", "A"), "references": [{"name": "A", "subject": "ring-a", "version": 1}]}
    assert sent(client, "POST", "/subjects/ring-b/versions", second)[0] == 200
    back = {"schema": record("A", "B"), "references": [{"name": "B", "subject": "ring-b", "version": 1}]}
    assert sent(client, "POST", "/subjects/ring-a/versions", back)[0] == 422
    round_and_round = {
        "$ref": "#/definitions/a",
        "definitions": {"a": {"$ref": "#/definitions/b"}, "b": {"$ref": "#/definitions/a"}},
    }
    for tree in ({"$ref": "#"}, round_and_round, {"type": "object", "properties": {"a": {"$ref": "#"}}}):
        body = {"schema": json.dumps(tree), "schemaType": "JSON"}
        assert sent(client, "POST", "/subjects/ring-json/versions?normalize=true", body)[0] in (200, 409, 422)


@pytest.mark.parametrize("pattern", BOMBS)
def test_patterns_that_take_for_ever_take_no_time(client: httpx.Client, pattern: str) -> None:
    name, subject = "a" * 60 + "!", f"bomb-{BOMBS.index(pattern)}"
    text = {"type": "string", "pattern": pattern, "default": name, "examples": [name]}
    start = time.monotonic()
    for tree in (
        {"type": "object", "patternProperties": {pattern: {"type": "string"}}, "additionalProperties": text},
        {"type": "object", "properties": {name: text}, "patternProperties": {pattern: {"type": "integer"}}},
        {"type": "object", "properties": {name: {"type": "integer"}}, "patternProperties": {pattern: text}},
    ):
        body = {"schema": json.dumps(tree), "schemaType": "JSON"}
        assert sent(client, "POST", f"/compatibility/subjects/{subject}/versions?verbose=true", body)[0] in (200, 422)
        assert sent(client, "POST", f"/subjects/{subject}/versions", body)[0] in (200, 409, 422)
    assert time.monotonic() - start < 15


_ODD: list[Any] = [
    None, True, False, 0, -1, 1, 2, 2**31, 2**63, -(2**70), 1.5, 1e400, "", "a", "FULL", "IMPORT", "READWRITE", "\ud800",
    "\x00", " ", ":.c:", ":.c:a", ":*:", "..", "latest", [], {}, [None], {"a": None}, {"properties": {"a": "b"}},
    {"properties": {"a": 1}},
    {"tags": {"**.a": ["x"]}}, {"sensitive": ["a"]},
    {"domainRules": [{"name": "r", "type": "CEL", "kind": "CONDITION", "mode": "WRITE"}]},
    {"domainRules": [{"name": "r"}, {"name": "r"}]}, {"migrationRules": [None]}, {"encodingRules": "x"}, [{"name": "n"}],
    [{"name": "n", "subject": "a", "version": -1}], [{"name": "n", "subject": ":.c:a", "version": 1}],
]  # fmt: skip
_SCHEMAS = [
    ("AVRO", '"int"'), ("AVRO", '{"type":"record","name":"A","fields":[]}'), ("AVRO", "{"), ("AVRO", '["null","int"]'),
    ("JSON", "{}"), ("JSON", '{"type":"object"}'), ("JSON", "true"), ("JSON", "1"), ("PROTOBUF", PROTO3),
    ("PROTOBUF", "CAAQAA=="), ("PROTOBUF", PROTO3 + "message M { int32 a = 1; }"), ("XML", "<a/>"), ("AVRO", ""),
    ("JSON", "\ud800"),
]  # fmt: skip
_SUBJECTS = (
    "a",
    "b",
    ":.c:a",
    ":.c:",
    ":*:",
    ":.:a",
    ":.__GLOBAL:",
    "%2F",
    "%00",
    "%E2%82%AC",
    "__EMPTY",
    "__GLOBAL",
    "a%20b",
    ".c",
)
_BODY_MEMBERS = ("schemaType", "references", "metadata", "ruleSet", "id", "version", "schema")
_CONFIG_MEMBERS = (
    "compatibility", "compatibilityLevel", "alias", "normalize", "validateFields", "validateRules", "compatibilityGroup",
    "compatibilityPolicy", "defaultMetadata", "overrideMetadata", "defaultRuleSet", "overrideRuleSet", "unknown",
)  # fmt: skip
_FLAGS = (
    "normalize", "deleted", "deletedOnly", "verbose", "permanent", "defaultToGlobal", "force", "recursive", "latestOnly",
    "aliases", "fetchMaxId", "includeSubjects", "format", "subject", "subjectPrefix", "offset", "limit", "key", "value",
    "ruleType", "contextPrefix", "referenceFormat", "findTags", "lifecycle", "associationType", "cascadeLifecycle", "dryRun",
)  # fmt: skip
_VALUES = ("true", "false", "", "1", "-1", "x", "resolved", "serialized", "qualified", ":*:", ":.c:", "%FF", "9" * 400)
_PATHS = (
    ("GET", "/subjects"), ("GET", "/subjects/{s}/versions"), ("GET", "/subjects/{s}/versions/{v}"), ("POST", "/subjects/{s}"),
    ("GET", "/subjects/{s}/versions/{v}/schema"), ("GET", "/subjects/{s}/versions/{v}/referencedby"),
    ("GET", "/subjects/{s}/metadata"),
    ("POST", "/subjects/{s}/versions"), ("POST", "/subjects/{s}/versions"), ("POST", "/subjects/{s}/versions"),
    ("DELETE", "/subjects/{s}"), ("DELETE", "/subjects/{s}/versions/{v}"), ("GET", "/schemas"), ("GET", "/schemas/ids/{v}"),
    ("GET", "/schemas/ids/{v}/schema"), ("GET", "/schemas/ids/{v}/subjects"), ("GET", "/schemas/ids/{v}/versions"),
    ("GET", "/schemas/guids/{v}"), ("GET", "/schemas/guids/{v}/ids"), ("GET", "/contexts"),
    ("POST", "/compatibility/subjects/{s}/versions"), ("POST", "/compatibility/subjects/{s}/versions/{v}"),
    ("GET", "/config"), ("PUT", "/config"), ("DELETE", "/config"), ("GET", "/config/{s}"), ("PUT", "/config/{s}"),
    ("PUT", "/config/{s}"), ("DELETE", "/config/{s}"), ("GET", "/mode"), ("PUT", "/mode"), ("DELETE", "/mode"),
    ("GET", "/mode/{s}"), ("PUT", "/mode/{s}"), ("DELETE", "/mode/{s}"),
    ("GET", "/associations/subjects/{s}"), ("GET", "/associations/resources/{s}"), ("GET", "/associations/resources/-/{s}"),
    ("POST", "/associations"), ("PUT", "/associations/resources/r"), ("DELETE", "/associations/resources/r"),
)  # fmt: skip
_ASSOCIATION_MEMBERS = ("subject", "associationType", "lifecycle", "frozen", "schema", "normalize")
_RESOURCE_MEMBERS = ("resourceName", "resourceNamespace", "resourceId", "resourceType", "associations")


def _request(random: Random) -> tuple[str, str, Any]:
    method, path = random.choice(_PATHS)
    path = path.replace("{s}", random.choice(_SUBJECTS)).replace(
        "{v}", random.choice(("1", "2", "3", "latest", "-1", "0", "x", "1e3"))
    )
    path = random.choice(("", "", "/contexts/.c", "/contexts/:.c:", "/contexts/x")) + path + random.choice(("", "", "", "/"))
    flags = "&".join(f"{random.choice(_FLAGS)}={random.choice(_VALUES)}" for _ in range(random.randint(0, 3)))
    body: Any = None
    if method in ("POST", "PUT"):
        if "/mode" in path:
            body = {"mode": random.choice((*_ODD, "READONLY", "READONLY_OVERRIDE", "READWRITE", "READWRITE"))}
        elif "/config" in path:
            body = {name: random.choice(_ODD) for name in random.sample(_CONFIG_MEMBERS, random.randint(0, 3))}
        elif "/associations" in path:
            one = {"subject": random.choice("ab"), "associationType": random.choice(("key", "value"))}
            one |= {name: random.choice(_ODD) for name in random.sample(_ASSOCIATION_MEMBERS, random.choice((0, 0, 1, 2)))}
            body = {"resourceName": "t", "resourceNamespace": "n", "resourceId": "r", "associations": [one]}
            body |= {name: random.choice(_ODD) for name in random.sample(_RESOURCE_MEMBERS, random.choice((0, 0, 1)))}
        else:
            kind, text = random.choice(_SCHEMAS)
            body = {"schema": text, "schemaType": kind}
            body |= {name: random.choice(_ODD) for name in random.sample(_BODY_MEMBERS, random.choice((0, 0, 1, 2)))}
        if random.random() < 0.03:
            body = random.choice(_ODD)
    return method, f"{path}?{flags}", body


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_requests_of_any_sense_are_answered(client: httpx.Client, seed: int) -> None:
    random = Random(seed)
    statuses = [sent(client, *_request(random))[0] for _ in range(400)]
    assert {200, 404, 422} <= set(statuses)
    for path in ("/mode", "/mode/:.c:?recursive=true", "/mode/:.__GLOBAL:"):
        sent(client, "DELETE", path)  # so that the next one may write

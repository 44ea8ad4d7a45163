"""HTTP as a registry may be sent it: requests that mean something there, then damaged, and bodies that lie about themselves.

Everything follows from a `random.Random`, as in `generate.py`.
"""

import gzip
import json
from random import Random
from typing import Final
from urllib.parse import quote

from tests.fuzz.generate import damaged

_METHODS = (b"GET",) * 12 + (b"POST",) * 12 + (b"PUT", b"DELETE", b"HEAD", b"OPTIONS", b"PATCH", b"G\xff", b"")
_SUBJECTS = (
    *("a-value",) * 8,
    "b-value",
    "",
    " ",
    ".",
    "..",
    "%",
    "a/b",
    "\x00",
    "\u20ac\U0001f980",
    "\ud800",
    "s" * 1000,
    "s" * 1001,
    ":.c:a-value",
    ":.c:",
    ":*:a",
    ":.\x00:a",
)
_VERSIONS = ("1", "2", "latest", "-1", "0", "00000000001", "1" * 11, "00000000001" + "9" * 5000, "\u0661", "1e3", "", "x" * 300)
_PATHS = (
    "/", "/subjects", "/subjects/{subject}", "/subjects/{subject}/versions", "/subjects/{subject}/versions/{version}",
    "/subjects/{subject}/versions/{version}/schema", "/subjects/{subject}/versions/{version}/referencedby",
    "/subjects/{subject}/metadata", "/contexts", "/contexts/.c/subjects/{subject}/versions", "/contexts/{subject}/config",
    "/contexts/{subject}/schemas/ids/{version}", "/schemas/guids/{version}", "/schemas/guids/{subject}/ids",
    "/schemas", "/schemas/types", "/schemas/ids/{version}", "/schemas/ids/{version}/schema", "/schemas/ids/{version}/versions",
    "/compatibility/subjects/{subject}/versions", "/compatibility/subjects/{subject}/versions/{version}",
    "/config", "/config/{subject}", "/mode", "/mode/{subject}", "/healthz", "/readyz", "/metrics", "/nothing", "*", "//", "/..",
)  # fmt: skip
_QUERIES = (
    "",
    "",
    "?deleted=true",
    "?permanent=true",
    "?subjectPrefix=%ff%00",
    "?latestOnly=true&verbose=true",
    "?normalize=true&deletedOnly=true&offset=1&limit=99999999999999999999",
    "?subject=:.c:&format=serialized&fetchMaxId=true&includeSubjects=true",
    "?key=a&key=%ff&value=b&force=true&defaultToGlobal=true",
    "?" + "a=b&" * 500,
)
_HEADERS = (
    b"Connection: close", b"Connection: keep-alive", b"Connection: upgrade\r\nUpgrade: websocket", b"Expect: 100-continue",
    b"Expect: \xff", b"Accept-Encoding: gzip, \xff", b"Content-Type: \xff/\xff; charset=nothing", b"Host: a\r\nHost: b",
    b"Content-Type: multipart/form-data", b"Authorization: Basic \xff", b"Authorization: Bearer x", b"X: " + b"y" * 9000,
    b": no name", b"no colon", b"Cookie: " + b"a=b; " * 200, b"Range: bytes=5-1", b"If-None-Match: *",
)  # fmt: skip
_BOMB = gzip.compress(bytes(64 << 20))  # 64 MB in 64 KB


def _record(*fields: object) -> object:
    return {"type": "record", "name": "R", "namespace": "n", "fields": list(fields)}


def _field(kind: object, **more: object) -> object:
    return {"name": "a", "type": kind, **more}


def _deep(depth: int) -> str:
    return '{"type": "array", "items": ' * depth + '"long"' + "}" * depth


_SCHEMAS = (
    *map(json.dumps, (
        "long", "nothing", "", None, 7, [], {}, ["null", "null"], ["null", ["null"]], {"type": "map"}, {"type": {"type": {}}},
        _record(_field("long")), _record(_field("int", default=1), {"name": "b", "type": ["null", "R"]}), _record(None),
        _record(_field("int", default=10**400)), _record({"name": "\ud800", "type": "int"}), _record(_field(5, doc="\ud800")),
        _record(_field("bytes", default="\u0100")), _record(_field("double", default=float("nan"))), _record(_field("n.R")),
        _record({"name": "a"}), _record(*[1] * 50), _record(_field("int", aliases="x")), {"type": "record", "name": {}},
        {"type": "enum", "name": "E", "symbols": ["A", "A"]}, {"type": "enum", "name": "E", "symbols": ["A"], "default": "B"},
        {"type": "fixed", "name": "F", "size": -1}, {"type": "fixed", "name": "F", "size": 1 << 70},
        {"type": "bytes", "logicalType": "decimal", "precision": -1},
        {"type": "bytes", "logicalType": "decimal", "precision": 1 << 80},
        {"type": "record", "name": "R", "aliases": ["R", 5, None], "fields": []}, {"type": "error", "name": ".", "fields": {}},
    )),
    *map(json.dumps, (
        {"$ref": "#"}, {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}, {"$id": "::", "$ref": "%"},
        {"$schema": "x"}, {"properties": {"a": {"$ref": "http://127.0.0.1:1/"}}}, {"patternProperties": {"(a+)+$": {}}},
        {"multipleOf": 10**400},
        {"items": [[]]}, {"type": ["string", "x"]}, {"enum": []}, {"not": {"not": {}}},
        {"anyOf": [{"allOf": [True, False]}] * 9},
    )),
    'syntax = "proto3"; message A { A a = 1; }', 'import "/etc/passwd";', "message " * 2000, "message A { " * 200,
    'syntax = "proto2"; message A { repeated group G = 1 { optional int32 x = 1 [default = 99999999999999999999]; } }',
    'edition = "9999";', 'import "headrace-main-schema.proto";',
    'syntax = "proto3"; option (a.b) = { c: "\\xff" };', "CgFhEgFi", "AAAA",
    _deep(60), _deep(3000), "[" * 100_000, "{", "1" * 5000,
)  # fmt: skip


_REFERENCES: Final[tuple[object, ...]] = (
    [], [{}], 5, [{"name": "a.proto", "subject": "a-value", "version": 1}] * 2,
    [{"name": "../x", "subject": "a-value", "version": -1}],
    [{"name": "\ud800", "subject": "\ud800", "version": 1}], [{"name": "a", "subject": "a-value", "version": 10**400}],
)  # fmt: skip
_CONTRACTS: Final[tuple[object, ...]] = (
    {},
    1,
    {"properties": {"a": "b"}},
    {"a": "\ud800"},
    {"a": float("nan")},
    {"properties": []},
)


def conversation(rng: Random) -> list[bytes]:
    """What one connection sends, in pieces."""
    pieces = []
    for _ in range(rng.choice((1, 1, 2, 5))):
        sent = rng.randbytes(rng.choice((1, 30, 5000))) if rng.random() < 0.05 else request(rng)
        pieces += _cut(rng, damaged(rng, sent) if rng.random() < 0.2 else sent)
    return pieces


def _cut(rng: Random, sent: bytes) -> list[bytes]:
    if rng.random() < 0.7:
        return [sent]
    at = rng.randrange(len(sent) + 1)
    return [sent[:at], sent[at:]] if rng.random() < 0.8 else [sent[:at]]


def request(rng: Random) -> bytes:
    """One request, not always whole."""
    subject, version = (quote(rng.choice(each), errors="surrogatepass", safe="") for each in (_SUBJECTS, _VERSIONS))
    path = rng.choice(_PATHS).format(subject=subject, version=version) + rng.choice(_QUERIES)
    method, body = rng.choice(_METHODS), b""
    headers = [b"Host: h"] * (rng.random() < 0.95) + rng.sample(_HEADERS, rng.choice((0, 0, 0, 0, 1, 3)))
    if method in (b"POST", b"PUT") or rng.random() < 0.1:
        body, more = _body(rng)
        headers += more
    version_said = rng.choice((b"HTTP/1.1",) * 20 + (b"HTTP/1.0", b"HTTP/9.9", b"HTTP/2", b""))
    return b"\r\n".join([b" ".join([method, path.encode(), version_said]), *headers, b"", body])


def _body(rng: Random) -> tuple[bytes, list[bytes]]:
    """A body, and the headers that tell of it."""
    text = json.dumps(rng.choice(_SCHEMAS)) if rng.random() < 0.9 else "{" * rng.choice((1, 2000, 100_000))
    members: dict[str, object] = {
        "schema": text,
        "compatibility": rng.choice(("FULL", "full_transitive", "\ud800", 5, [], None)),
        "mode": rng.choice(("READWRITE", "import", "\ud800", 5, [], None)),
    }
    for name, values in (
        ("schemaType", ("AVRO", "JSON", "PROTOBUF", 5, [])), ("references", _REFERENCES), ("id", (-1, 5, "x", 1 << 40)),
        ("metadata", _CONTRACTS), ("ruleSet", _CONTRACTS), ("version", (1, -1, "x")), ("alias", ("a", None, 5, "\ud800")),
    ):  # fmt: skip
        if rng.random() < (0.4 if name == "schemaType" else 0.1):
            members[name] = rng.choice(values)
    body = (
        json.dumps(members).encode()
        if rng.random() < 0.9
        else rng.choice((b"", b"null", b"[]", b"\xff", b"1" * 10_000, b"[" * 99_999))
    )
    encoded = rng.random()
    headers = []
    if encoded < 0.1:
        body = rng.choice((gzip.compress(body), gzip.compress(body)[:-4], b"\x1f\x8b", _BOMB if rng.random() < 0.1 else b""))
        headers.append(b"Content-Encoding: " + rng.choice((b"gzip", b"deflate", b"br", b"zstd", b"\xff")))
    if rng.random() < 0.15:
        size = rng.choice((b"%x" % len(body), b"0", b"ffffffff", b"-1", b"zz", b"f" * 5000, b"1;" + b"e" * 9000))
        return size + b"\r\n" + body + b"\r\n0\r\n\r\n", [*headers, b"Transfer-Encoding: chunked"]
    lie = rng.choice((0,) * 15 + (1, -1, 1 << 20, 1 << 40))
    length = rng.choice((b"%d" % max(0, len(body) + lie),) * 20 + (b"-5", b"+5", b"5, 5", b"\xff", b"9" * 5000))
    return body, [*headers, b"Content-Length: " + length]

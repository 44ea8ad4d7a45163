"""Requests as a client's bytes would bring them, handled in this process for a client of any name; answers as bytes and as kio
decodes them.
"""

import os
import time
from collections.abc import Awaitable, Generator, Iterable, Mapping
from typing import Any, cast

from kio.index import load_request_schema, load_response_schema
from kio.serial import entity_reader

from headrace.broker.broker import Broker
from headrace.broker.handlers.api import Encoded, RequestContext, Response, Steps
from headrace.broker.handlers.table import APIS
from headrace.broker.network.sending import Region
from headrace.broker.security.access import Authorizer, Operation, Principal, ResourceType
from headrace.broker.security.acls import AclBinding, PatternType, Permission
from headrace.broker.security.authorizer import AclAuthorizer
from headrace.broker.session import Session
from headrace.broker.wire.encode import entity_writer
from headrace.broker.wire.schema import request_codec

EVE = Principal("User", "eve")
HOST = "10.0.0.66"
Right = tuple[Operation, ResourceType, str]


def rule(right: Right, *, permission: Permission = Permission.ALLOW, pattern: PatternType = PatternType.LITERAL) -> AclBinding:
    """A rule about Eve."""
    operation, kind, name = right
    return AclBinding(kind, pattern, name, str(EVE), "*", operation, permission)


def with_rules(rules: Iterable[AclBinding], denied: list[Right] | None = None) -> AclAuthorizer:
    """An authorizer; what it hears of refusals to Eve is put into `denied`."""

    def note(principal: Principal, host: str, operation: Operation, kind: ResourceType, name: str) -> None:
        assert (principal, host) == (EVE, HOST)
        if denied is not None:
            denied.append((operation, kind, name))

    return AclAuthorizer((), allowed_without_rules=False, rules=rules, denied=note)


async def raw(broker: Broker, authorizer: Authorizer, key: int, version: int, body: Mapping[str, Any]) -> bytes:
    """The body of the answer to Eve; empty where none is sent."""
    api = APIS[key]
    schema = load_request_schema(key, version)
    frame = bytearray(b"\0" if schema.__flexible__ else b"")
    entity_writer(schema)(frame, body)
    codec = request_codec(key, version, (api.min_version, api.max_version))
    session = Session("PLAINTEXT", ("127.0.0.1", 9092), HOST, authorizer, principal=EVE)
    context = RequestContext(version, codec.flexible, "a-client", session, started_ns=time.perf_counter_ns())
    answer = api.handle(broker, context, codec.decode(bytes(frame), 0))
    if isinstance(answer, Generator):
        answer = _finished(answer)
    if isinstance(answer, Awaitable):
        answer = await answer
    if answer is None:
        return b""
    return b"".join(map(_bytes, answer.parts)) if isinstance(answer, Encoded) else codec.encode_body(answer)


def _finished(steps: Steps) -> Response | Awaitable[Response]:
    """What a handler that works in steps answers in the end."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return cast(Response | Awaitable[Response], done.value)


def _bytes(part: Any) -> bytes:
    return os.pread(part.file.fileno(), len(part), part.position) if isinstance(part, Region) else bytes(part)


def decoded(key: int, version: int, answer: bytes) -> Any:
    response, used = entity_reader(load_response_schema(key, version))(answer, 0)
    assert used == len(answer)
    return response

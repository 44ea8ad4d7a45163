"""DescribeClientQuotas v0-1 (KIP-546): the quotas that are set. v1 is flexible."""

from typing import Any

from headrace.broker.broker import Broker
from headrace.broker.handlers.api import Answer, Api, RequestContext
from headrace.broker.quotas.book import FilterPart, Match
from headrace.broker.quotas.entities import CLIENT_ID, IP, USER
from headrace.broker.security.access import Operation
from headrace.broker.wire import ErrorCode

_MATCHES: tuple[Match, ...] = ("exact", "default", "any")


def _handle(broker: Broker, context: RequestContext, request: Any) -> Answer:
    if not context.may_cluster(Operation.DESCRIBE_CONFIGS):
        return _failed(ErrorCode.cluster_authorization_failed, None)
    parts = []
    for asked in request.components:
        if not 0 <= asked.match_type < len(_MATCHES):
            return _failed(ErrorCode.invalid_request, f"match type {asked.match_type}: it is 0, 1 or 2")
        parts.append(FilterPart(asked.entity_type, _MATCHES[asked.match_type], asked.match))
    fault = _fault([part.kind for part in parts])
    if fault is not None:
        return _failed(*fault)
    found = broker.quotas.book.matching(parts, strict=request.strict)
    entries = [
        {
            "entity": [{"entity_type": kind, "entity_name": name} for kind, name in sorted(entity, key=lambda part: part[0])],
            "values": [{"key": key, "value": value} for key, value in sorted(quotas.items())],
        }
        for entity, quotas in found
    ]
    return {"error_code": ErrorCode.none, "error_message": None, "entries": entries}


def _fault(kinds: list[str]) -> tuple[int, str] | None:
    """What is wrong with the types of a filter, as Kafka says it."""
    for kind in kinds:
        if not kind:
            return ErrorCode.invalid_request, "Unexpected empty filter component entity type"
        if kinds.count(kind) > 1:
            return ErrorCode.invalid_request, f"Duplicate {kind} filter component entity type"
        if kind not in (USER, CLIENT_ID, IP):
            return ErrorCode.unsupported_version, f"Custom entity type {kind} not supported"
    if IP in kinds and len(kinds) > 1:
        return ErrorCode.invalid_request, "Invalid entity filter component combination, IP stands alone"
    return None


def _failed(error: int, message: str | None) -> dict[str, Any]:
    return {"error_code": error, "error_message": message, "entries": None}


DESCRIBE_CLIENT_QUOTAS = Api(48, "DescribeClientQuotas", 0, 1, _handle)

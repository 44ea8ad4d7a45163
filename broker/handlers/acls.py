"""DescribeAcls (29), CreateAcls (30), DeleteAcls (31), v1-3: the access rules. v2 is flexible, v3 knows users (KIP-373).

Describing needs DESCRIBE on the cluster, changing ALTER. Without an authorizer all answer SECURITY_DISABLED. Kafka closes the
connection on a number that it does not know (a kind, an operation …); we answer INVALID_REQUEST, which says what is wrong.
"""

from collections.abc import Sequence
from typing import Any

from headrace.broker.broker import Broker
from headrace.broker.coordination.changes import Change
from headrace.broker.handlers.api import Answer, Api, RequestContext, Response
from headrace.broker.security.access import Operation, ResourceType
from headrace.broker.security.acls import AclBinding, AclFilter, PatternType, Permission, fault
from headrace.broker.security.rules import AccessRules
from headrace.broker.wire import ErrorCode
from headrace.errors import StorageError

_MAX_CHANGES = 10_000  # in one request, as in Kafka (AclControlManager)
_Fault = tuple[int, str]
_UNKNOWN_ELEMENTS: _Fault = ErrorCode.invalid_request, "The filter has elements that are not known."


def describe_acls(broker: Broker, context: RequestContext, request: Any) -> Answer:
    rules, wanted = _rules(broker, context, Operation.DESCRIBE), _filter(request)
    if isinstance(rules, tuple):
        return {**_result(rules), "resources": []}
    if wanted is None:
        return {**_result(_UNKNOWN_ELEMENTS), "resources": []}
    resources: dict[tuple[int, str, int], list[dict[str, Any]]] = {}
    for rule in rules.find(wanted):
        resources.setdefault((rule.kind, rule.name, rule.pattern), []).append(_entry(rule))
    return {
        **_result(None),
        "resources": [
            {"resource_type": kind, "resource_name": name, "pattern_type": pattern, "acls": acls}
            for (kind, name, pattern), acls in resources.items()
        ],
    }


async def create_acls(broker: Broker, context: RequestContext, request: Any) -> Response:
    rules = _too_many(len(request.creations)) or _rules(broker, context, Operation.ALTER)
    if isinstance(rules, tuple):
        return {"results": [_result(rules) for _ in request.creations]}
    asked, refused = [_binding(creation) for creation in request.creations], None
    try:
        await broker.changes.make(rules.add([rule for rule in asked if isinstance(rule, AclBinding)]))
    except StorageError as error:
        refused = ErrorCode.kafka_storage_error, str(error)
    return {"results": [_result(refused if isinstance(rule, AclBinding) else rule) for rule in asked]}


async def delete_acls(broker: Broker, context: RequestContext, request: Any) -> Response:
    rules = _rules(broker, context, Operation.ALTER)
    if isinstance(rules, tuple):
        return {"filter_results": [_filter_result(rules, ()) for _ in request.filters]}
    return await broker.changes.make(_delete(rules, request))


def _delete(rules: AccessRules, request: Any) -> Change[dict[str, Any]]:
    filters = [_filter(each) for each in request.filters]
    found = [() if wanted is None else rules.find(wanted) for wanted in filters]
    gone = list(dict.fromkeys(rule for each in found for rule in each))
    refused = _too_many(len(gone))
    if refused is None:
        try:
            yield from rules.remove(gone)
        except StorageError as error:
            refused = ErrorCode.kafka_storage_error, str(error)
    results = zip(filters, found, strict=True)
    return {
        "filter_results": [_filter_result(_UNKNOWN_ELEMENTS if wanted is None else refused, each) for wanted, each in results]
    }


def _rules(broker: Broker, context: RequestContext, operation: Operation) -> AccessRules | _Fault:
    if not context.may_cluster(operation):
        return ErrorCode.cluster_authorization_failed, "Cluster authorization failed."
    return broker.access_rules or (ErrorCode.security_disabled, "No Authorizer is configured.")


def _too_many(count: int) -> _Fault | None:
    if count > _MAX_CHANGES:
        return ErrorCode.invalid_request, f"{count} rules; at most {_MAX_CHANGES} are changed at once"
    return None


def _result(refused: _Fault | None) -> dict[str, Any]:
    error, message = refused or (ErrorCode.none, None)
    return {"error_code": error, "error_message": message}


def _filter_result(refused: _Fault | None, rules: Sequence[AclBinding]) -> dict[str, Any]:
    matching = [
        {
            "error_code": ErrorCode.none,
            "error_message": None,
            "resource_type": rule.kind,
            "resource_name": rule.name,
            "pattern_type": rule.pattern,
            **_entry(rule),
        }
        for rule in rules
    ]
    return {**_result(refused), "matching_acls": matching if refused is None else []}


def _entry(rule: AclBinding) -> dict[str, Any]:
    return {
        "principal": rule.principal,
        "host": rule.host,
        "operation": rule.operation,
        "permission_type": rule.permission,
    }


def _binding(creation: Any) -> AclBinding | _Fault:
    try:
        rule = AclBinding(
            ResourceType(creation.resource_type),
            PatternType(creation.resource_pattern_type),
            creation.resource_name,
            creation.principal,
            creation.host,
            Operation(creation.operation),
            Permission(creation.permission_type),
        )
    except ValueError as error:
        return ErrorCode.invalid_request, str(error)
    wrong = fault(rule)
    return rule if wrong is None else (ErrorCode.invalid_request, wrong)


def _filter(asked: Any) -> AclFilter | None:
    """The filter of a request; None where it has numbers that are not known."""
    try:
        return AclFilter(
            ResourceType(asked.resource_type_filter),
            PatternType(asked.pattern_type_filter),
            asked.resource_name_filter,
            asked.principal_filter,
            asked.host_filter,
            Operation(asked.operation),
            Permission(asked.permission_type),
        )
    except ValueError:
        return None


DESCRIBE_ACLS = Api(29, "DescribeAcls", 1, 3, describe_acls)
CREATE_ACLS = Api(30, "CreateAcls", 1, 3, create_acls)
DELETE_ACLS = Api(31, "DeleteAcls", 1, 3, delete_acls)

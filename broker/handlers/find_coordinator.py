"""FindCoordinator (10), v0-6: who coordinates a group. On one node: this one, under the address that the client has used.

v0 asks for groups only; v1 adds the kind and an error message; v4 asks for many at once (KIP-699): answers above, not below, v4
are an array. v6 allows share groups (KIP-932), which are not served, as transactions are not: the first are refused as
INVALID_REQUEST, the second as TRANSACTIONAL_ID_AUTHORIZATION_FAILED, the one error that librdkafka does not ask again after.
Asking for a group makes `__consumer_offsets`, as in Kafka.
"""

import asyncio
from typing import TYPE_CHECKING, Any

from headrace.broker.handlers.api import Api, RequestContext, Response
from headrace.broker.security.access import Operation, ResourceType
from headrace.broker.wire import ErrorCode
from headrace.errors import StorageError

if TYPE_CHECKING:
    from headrace.broker.broker import Broker

_GROUP, _TRANSACTION = 0, 1
_MANY_FROM_VERSION = 4
_KEYS_AT_A_TIME = 50


async def _coordinator(broker: "Broker", context: RequestContext, key_type: int, key: str) -> dict[str, Any]:
    nobody = {"key": key, "node_id": -1, "host": "", "port": -1}
    if key_type != _GROUP:
        message = f"this broker coordinates groups only, not keys of type {key_type}"
        of_transaction = key_type == _TRANSACTION
        error = ErrorCode.transactional_id_authorization_failed if of_transaction else ErrorCode.invalid_request
        return {**nobody, "error_code": error, "error_message": message}
    if not context.may(Operation.DESCRIBE, ResourceType.GROUP, key):
        return {**nobody, "error_code": ErrorCode.group_authorization_failed, "error_message": "Group authorization failed."}
    try:
        await broker.topics.ensure_offsets()
    except StorageError as error:
        return {**nobody, "error_code": ErrorCode.coordinator_not_available, "error_message": str(error)}
    if not broker.groups.is_available(key):
        message = "the partition that holds this group is offline"
        return {**nobody, "error_code": ErrorCode.coordinator_not_available, "error_message": message}
    host, port = context.session.advertised
    return {
        "key": key,
        "node_id": broker.node_id,
        "host": host,
        "port": port,
        "error_code": ErrorCode.none,
        "error_message": None,
    }


async def handle(broker: "Broker", context: RequestContext, request: Any) -> Response:
    if context.api_version < _MANY_FROM_VERSION:
        return await _coordinator(broker, context, request.key_type, request.key)
    found = []
    for key in request.coordinator_keys:
        found.append(await _coordinator(broker, context, request.key_type, key))  # mostly without waiting for anything
        if len(found) % _KEYS_AT_A_TIME == 0:
            await asyncio.sleep(0)
    return {"coordinators": found}


FIND_COORDINATOR = Api(10, "FindCoordinator", 0, 6, handle)

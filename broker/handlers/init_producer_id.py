"""InitProducerId v0-4, for idempotent producers. v3 lets a producer give its old id (KIP-360).

There are no transactions yet: a transactional id is refused. Without one Kafka gives out a fresh id, whatever the request
says of an older one, and so does this.
"""

from typing import Any

from headrace.broker.broker import Broker
from headrace.broker.handlers.api import Api, RequestContext, Response
from headrace.broker.security.access import Operation, ResourceType
from headrace.broker.wire import ErrorCode
from headrace.errors import StorageError


async def _handle(broker: Broker, context: RequestContext, request: Any) -> Response:
    if request.transactional_id is not None:
        # Fatal in every client, as FindCoordinator says it too: there is no code for "no transactions here".
        code = ErrorCode.transactional_id_authorization_failed if request.transactional_id else ErrorCode.invalid_request
        return {"error_code": code, "producer_id": -1, "producer_epoch": -1}
    if not _may_have_one(context):
        return {"error_code": ErrorCode.cluster_authorization_failed, "producer_id": -1, "producer_epoch": -1}
    try:
        producer_id = await broker.changes.make(broker.producer_ids.next())
    except StorageError:
        return {"error_code": ErrorCode.coordinator_not_available, "producer_id": -1, "producer_epoch": -1}
    return {"error_code": 0, "producer_id": producer_id, "producer_epoch": 0}


def _may_have_one(context: RequestContext) -> bool:
    """Who may write to any topic may do so idempotently (KIP-679)."""
    return context.may_some(Operation.WRITE, ResourceType.TOPIC) or context.may_cluster(Operation.IDEMPOTENT_WRITE)


INIT_PRODUCER_ID = Api(22, "InitProducerId", 0, 4, _handle)

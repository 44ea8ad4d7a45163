"""JoinGroup (11) v0-9, Heartbeat (12) v0-4, LeaveGroup (13) v0-5, SyncGroup (14) v0-5: a member's life in a classic group.

JoinGroup: v0 has no rebalance timeout, the session timeout stands in; v4 knows MEMBER_ID_REQUIRED (KIP-394), which older
clients would take for a failure and retry for ever; v5 static members (KIP-345); v7 nullable protocol names (KIP-559); v8 a
reason, which is logged; v9 `skip_assignment` (KIP-814). LeaveGroup: v3 takes many members, each with its own error; before,
the error of the one is the answer's. SyncGroup: v5 names the protocol, which is checked. Heartbeat: v3 static members.
"""

import logging
from typing import TYPE_CHECKING, Any

from headrace.broker.groups.messages import JoinRequest, LeavingMember, SyncRequest
from headrace.broker.handlers.api import Api, RequestContext, Response
from headrace.broker.security.access import Operation, ResourceType
from headrace.broker.wire import ErrorCode
from headrace.broker.wire.schema import milliseconds

if TYPE_CHECKING:
    from headrace.broker.broker import Broker

logger = logging.getLogger(__name__)
_REBALANCE_TIMEOUT_FROM_VERSION = 1
_MEMBER_ID_REQUIRED_FROM_VERSION = 4
_NULLABLE_PROTOCOL_FROM_VERSION = 7
_SKIP_ASSIGNMENT_FROM_VERSION = 9
_MANY_LEAVE_FROM_VERSION = 3


def _may_join(context: RequestContext, group_id: str) -> bool:
    """What a member does needs READ on its group."""
    return context.may(Operation.READ, ResourceType.GROUP, group_id)


async def join_group(broker: "Broker", context: RequestContext, request: Any) -> Response:
    nameless = None if context.api_version >= _NULLABLE_PROTOCOL_FROM_VERSION else ""
    if not _may_join(context, request.group_id):
        return {
            "error_code": ErrorCode.group_authorization_failed,
            "generation_id": -1,
            "protocol_type": None,
            "protocol_name": nameless,
            "leader": "",
            "member_id": "",
            "members": [],
        }
    session_timeout_ms = milliseconds(request.session_timeout)
    rebalance_timeout_ms = session_timeout_ms
    if context.api_version >= _REBALANCE_TIMEOUT_FROM_VERSION:
        rebalance_timeout_ms = max(milliseconds(request.rebalance_timeout), 1)
    if request.reason:
        logger.info("member joins", extra=_told(context, request.group_id, request.member_id, request.reason))
    answer = await broker.groups.join(
        request.group_id,
        JoinRequest(
            request_id=0,
            member_id=request.member_id,
            group_instance_id=request.group_instance_id,
            client_id=context.client_id or "",
            client_host=f"/{context.session.client_host}",  # as Kafka shows addresses
            session_timeout_ms=session_timeout_ms,
            rebalance_timeout_ms=rebalance_timeout_ms,
            protocol_type=request.protocol_type,
            protocols=tuple((protocol.name, bytes(protocol.metadata)) for protocol in request.protocols),
            unique="",
            member_id_required=context.api_version >= _MEMBER_ID_REQUIRED_FROM_VERSION,
            can_skip_assignment=context.api_version >= _SKIP_ASSIGNMENT_FROM_VERSION,
        ),
    )
    return {
        "error_code": answer.error,
        "generation_id": answer.generation,
        "protocol_type": answer.protocol_type,
        "protocol_name": nameless if answer.protocol_name is None else answer.protocol_name,
        "leader": answer.leader,
        "skip_assignment": answer.skip_assignment,
        "member_id": answer.member_id,
        "members": [
            {"member_id": member_id, "group_instance_id": instance_id, "metadata": metadata}
            for member_id, instance_id, metadata in answer.members
        ],
    }


async def sync_group(broker: "Broker", context: RequestContext, request: Any) -> Response:
    if not _may_join(context, request.group_id):
        refused = ErrorCode.group_authorization_failed
        return {"error_code": refused, "protocol_type": None, "protocol_name": None, "assignment": b""}
    answer = await broker.groups.sync(
        request.group_id,
        SyncRequest(
            request_id=0,
            member_id=request.member_id,
            group_instance_id=request.group_instance_id,
            generation=request.generation_id,
            protocol_type=request.protocol_type,
            protocol_name=request.protocol_name,
            assignments=tuple((each.member_id, bytes(each.assignment)) for each in request.assignments),
        ),
    )
    return {
        "error_code": answer.error,
        "protocol_type": answer.protocol_type,
        "protocol_name": answer.protocol_name,
        "assignment": answer.assignment,
    }


def heartbeat(broker: "Broker", context: RequestContext, request: Any) -> Response:
    if not _may_join(context, request.group_id):
        return {"error_code": ErrorCode.group_authorization_failed}
    error = broker.groups.heartbeat(request.group_id, request.member_id, request.group_instance_id, request.generation_id)
    return {"error_code": error}


def leave_group(broker: "Broker", context: RequestContext, request: Any) -> Response:
    if not _may_join(context, request.group_id):
        return {"error_code": ErrorCode.group_authorization_failed, "members": []}
    if not request.group_id:
        return {"error_code": ErrorCode.invalid_group_id, "members": []}
    if context.api_version < _MANY_LEAVE_FROM_VERSION:
        (error,) = broker.groups.leave(request.group_id, [LeavingMember(request.member_id, None)])
        return {"error_code": error}
    leaving = [LeavingMember(each.member_id, each.group_instance_id) for each in request.members]
    for each in request.members:
        if each.reason:
            logger.info("member leaves", extra=_told(context, request.group_id, each.member_id, each.reason))
    errors = broker.groups.leave(request.group_id, leaving)
    return {
        "error_code": ErrorCode.none,
        "members": [
            {"member_id": each.member_id, "group_instance_id": each.group_instance_id, "error_code": error}
            for each, error in zip(leaving, errors, strict=True)
        ],
    }


def _told(context: RequestContext, group_id: str, member_id: str, reason: str) -> dict[str, str]:
    return {"client": context.session.client_host, "group": group_id, "member": member_id, "reason": reason}


JOIN_GROUP = Api(11, "JoinGroup", 0, 9, join_group, cancelled_with_connection=True)
HEARTBEAT = Api(12, "Heartbeat", 0, 4, heartbeat)
LEAVE_GROUP = Api(13, "LeaveGroup", 0, 5, leave_group)
SYNC_GROUP = Api(14, "SyncGroup", 0, 5, sync_group, cancelled_with_connection=True)

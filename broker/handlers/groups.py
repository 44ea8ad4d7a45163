"""DescribeGroups (15) v0-6, ListGroups (16) v0-5, DeleteGroups (42) v0-2: groups as an administrator sees them.

DescribeGroups: v3 may ask for authorized operations; v4 shows instance ids; a group
that does not exist is `Dead` and no error up to v5, GROUP_ID_NOT_FOUND from v6 on. ListGroups: v4 filters by state, v5 by type;
all groups here are classic.
"""

from functools import partial
from typing import TYPE_CHECKING, Any

from headrace.broker.groups.coordinator import is_listed
from headrace.broker.groups.group import Group
from headrace.broker.groups.messages import GroupState
from headrace.broker.handlers.api import Api, RequestContext, Response, Steps
from headrace.broker.handlers.steps import mapped
from headrace.broker.security.access import Operation, ResourceType
from headrace.broker.wire import ErrorCode

if TYPE_CHECKING:
    from headrace.broker.broker import Broker

_NOT_FOUND_FROM_VERSION = 6
_ABSENT = -(1 << 31)


def describe_groups(broker: "Broker", context: RequestContext, request: Any) -> Steps:
    groups = yield from mapped(partial(_described, broker, context), request.groups)
    if request.include_authorized_operations:
        for group in groups:
            if group["error_code"] == ErrorCode.none:
                group["authorized_operations"] = context.operations(ResourceType.GROUP, group["group_id"])
    return {"groups": groups}


def _described(broker: "Broker", context: RequestContext, group_id: str) -> dict[str, Any]:
    if not context.may(Operation.DESCRIBE, ResourceType.GROUP, group_id):
        return _nothing_of(group_id, "", ErrorCode.group_authorization_failed, "Group authorization failed.")
    group = broker.groups.group(group_id)
    if group is not None:
        return {"error_code": ErrorCode.none, "error_message": None, "authorized_operations": _ABSENT, **_details(group)}
    if context.api_version < _NOT_FOUND_FROM_VERSION:
        return _nothing_of(group_id, GroupState.DEAD.value, ErrorCode.none, None)
    return _nothing_of(group_id, GroupState.DEAD.value, ErrorCode.group_id_not_found, f"group {group_id} is not known")


def _nothing_of(group_id: str, state: str, error: int, message: str | None) -> dict[str, Any]:
    return {
        "error_code": error,
        "error_message": message,
        "group_id": group_id,
        "group_state": state,
        "protocol_type": "",
        "protocol_data": "",
        "members": [],
        "authorized_operations": _ABSENT,
    }


def _details(group: Group) -> dict[str, Any]:
    """Protocol, metadata and assignments are told of stable groups only: before, they are not agreed on."""
    stable = group.state is GroupState.STABLE
    return {
        "group_id": group.group_id,
        "group_state": group.state.value,
        "protocol_type": group.protocol_type or "",
        "protocol_data": (group.protocol_name or "") if stable else "",
        "members": [
            {
                "member_id": member.member_id,
                "group_instance_id": member.group_instance_id,
                "client_id": member.client_id,
                "client_host": member.client_host,
                "member_metadata": member.metadata(group.protocol_name) if stable else b"",
                "member_assignment": member.assignment if stable else b"",
            }
            for member in group.members.values()
        ],
    }


def list_groups(broker: "Broker", context: RequestContext, request: Any) -> Response:
    """All groups for who may describe the cluster; otherwise those that may be described each."""
    every = context.sees_cluster(Operation.DESCRIBE)
    states = frozenset(state.lower() for state in request.states_filter)
    types = frozenset(kind.lower() for kind in request.types_filter)
    return {
        "error_code": ErrorCode.none,
        "groups": [
            {
                "group_id": group.group_id,
                "protocol_type": group.protocol_type or "",
                "group_state": group.state.value,
                "group_type": "classic",
            }
            for group in broker.groups.groups()
            if is_listed(group, states, types)
            and (every or context.sees(Operation.DESCRIBE, ResourceType.GROUP, group.group_id))
        ],
    }


async def delete_groups(broker: "Broker", context: RequestContext, request: Any) -> Response:
    wanted = dict.fromkeys(request.groups_names)
    return {"results": [{"group_id": each, "error_code": await _deleted(broker, context, each)} for each in wanted]}


async def _deleted(broker: "Broker", context: RequestContext, group_id: str) -> ErrorCode:
    if not context.may(Operation.DELETE, ResourceType.GROUP, group_id):
        return ErrorCode.group_authorization_failed
    return await broker.groups.delete_group(group_id)  # type: ignore[no-any-return]  # Broker.groups is Any


DESCRIBE_GROUPS = Api(15, "DescribeGroups", 0, 6, describe_groups)
LIST_GROUPS = Api(16, "ListGroups", 0, 5, list_groups)
DELETE_GROUPS = Api(42, "DeleteGroups", 0, 2, delete_groups)

"""DescribeGroups (15) v0-6, ListGroups (16) v0-5, DeleteGroups (42) v0-2: groups as an administrator sees them.

DescribeGroups: v3 may ask for authorized operations, which are all of them (no ACLs); v4 shows instance ids; a group
that does not exist is `Dead` and no error up to v5, GROUP_ID_NOT_FOUND from v6 on. ListGroups: v4 filters by state, v5 by type;
all groups here are classic.
"""

from typing import TYPE_CHECKING, Any

from headrace.broker.groups.coordinator import is_listed
from headrace.broker.groups.group import Group
from headrace.broker.groups.messages import GroupState
from headrace.broker.handlers.api import Api, RequestContext, Response
from headrace.broker.wire import ErrorCode

if TYPE_CHECKING:
    from headrace.broker.broker import Broker

_NOT_FOUND_FROM_VERSION = 6
_ABSENT = -(1 << 31)
GROUP_OPERATIONS = sum(1 << operation for operation in (3, 6, 8, 10, 11))  # bits by number of Kafka's AclOperation


def describe_groups(broker: "Broker", context: RequestContext, request: Any) -> Response:
    operations = GROUP_OPERATIONS if request.include_authorized_operations else _ABSENT
    groups = [_described(broker, context, group_id) for group_id in request.groups]
    return {"groups": [{**group, "authorized_operations": operations} for group in groups]}


def _described(broker: "Broker", context: RequestContext, group_id: str) -> dict[str, Any]:
    group = broker.groups.group(group_id)
    if group is not None:
        return {"error_code": ErrorCode.none, "error_message": None, **_details(group)}
    unknown = context.api_version >= _NOT_FOUND_FROM_VERSION
    return {
        "error_code": ErrorCode.group_id_not_found if unknown else ErrorCode.none,
        "error_message": f"group {group_id} is not known" if unknown else None,
        "group_id": group_id,
        "group_state": GroupState.DEAD.value,
        "protocol_type": "",
        "protocol_data": "",
        "members": [],
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


def list_groups(broker: "Broker", _: RequestContext, request: Any) -> Response:
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
        ],
    }


async def delete_groups(broker: "Broker", _: RequestContext, request: Any) -> Response:
    return {
        "results": [
            {"group_id": group_id, "error_code": await broker.groups.delete_group(group_id)}
            for group_id in dict.fromkeys(request.groups_names)
        ]
    }


DESCRIBE_GROUPS = Api(15, "DescribeGroups", 0, 6, describe_groups)
LIST_GROUPS = Api(16, "ListGroups", 0, 5, list_groups)
DELETE_GROUPS = Api(42, "DeleteGroups", 0, 2, delete_groups)

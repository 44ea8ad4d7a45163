"""DescribeCluster v1-2. v1 asks for brokers or controllers (KIP-919), v2 for fenced brokers. v0 breaks kafka-python: not
served.
"""

from typing import Any

from headrace.broker.broker import Broker
from headrace.broker.handlers.api import Answer, Api, RequestContext
from headrace.broker.wire import ErrorCode

_BROKERS, _CONTROLLERS = 1, 2
_ABSENT = -(1 << 31)


def _handle(broker: Broker, context: RequestContext, request: Any) -> Answer:
    if request.endpoint_type != _BROKERS:
        return _refused(request.endpoint_type)
    host, port = context.session.advertised
    operations = context.cluster_operations() if request.include_cluster_authorized_operations else _ABSENT
    us = {"broker_id": broker.node_id, "host": host, "port": port, "rack": None, "is_fenced": False}
    return {
        "error_code": ErrorCode.none,
        "error_message": None,
        "endpoint_type": _BROKERS,
        "cluster_id": broker.cluster_id,
        "controller_id": broker.node_id,
        "brokers": [us],
        "cluster_authorized_operations": operations,
    }


def _refused(endpoint_type: int) -> Answer:
    mismatched = endpoint_type == _CONTROLLERS
    return {
        "error_code": ErrorCode.mismatched_endpoint_type if mismatched else ErrorCode.unsupported_endpoint_type,
        "error_message": "this endpoint is a broker's" if mismatched else f"Unsupported endpoint type {endpoint_type}",
        "endpoint_type": _BROKERS,
        "cluster_id": "",
        "controller_id": -1,
        "brokers": [],
        "cluster_authorized_operations": _ABSENT,
    }


DESCRIBE_CLUSTER = Api(60, "DescribeCluster", 1, 2, _handle)

"""DescribeCluster v1-2. v1 asks for brokers or controllers (KIP-919), v2 for fenced brokers. v0 breaks kafka-python: not
served.
"""

from typing import Any

from headrace.broker.broker import Broker
from headrace.broker.handlers.api import Answer, Api, RequestContext
from headrace.broker.handlers.metadata import CLUSTER_OPERATIONS
from headrace.broker.wire import ErrorCode

_BROKERS = 1


def _handle(broker: Broker, context: RequestContext, request: Any) -> Answer:
    known = request.endpoint_type == _BROKERS
    host, port = context.advertised
    us = {"broker_id": broker.node_id, "host": host, "port": port, "rack": None, "is_fenced": False}
    return {
        "error_code": ErrorCode.none if known else ErrorCode.mismatched_endpoint_type,
        "error_message": None if known else "this is a broker",
        "endpoint_type": _BROKERS,
        "cluster_id": broker.cluster_id,
        "controller_id": broker.node_id,
        "brokers": [us] if known else [],
        "cluster_authorized_operations": CLUSTER_OPERATIONS if request.include_cluster_authorized_operations else -(1 << 31),
    }


DESCRIBE_CLUSTER = Api(60, "DescribeCluster", 1, 2, _handle)

"""ApiVersions v0-4: what is served. v1 adds the throttle time, v3 is flexible and names the client's software.

An unknown version is answered in v0's form with error 35, so that the client can ask again (KIP-511); the response header is v0
in every version. No features are finalized, so clients keep to transactions' first protocol (KIP-890).
"""

import re
from typing import Any

from headrace.broker.broker import Broker
from headrace.broker.handlers.api import Answer, Api, Encoded, RequestContext
from headrace.broker.wire import ErrorCode
from headrace.broker.wire.header import RequestHeader
from headrace.broker.wire.schema import request_codec

_KEY = 18
_SERVED = (0, 4)
_FLEXIBLE_FROM_VERSION = 3
_SOFTWARE = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?")


def _handle(broker: Broker, context: RequestContext, request: Any) -> Answer:
    version = context.api_version
    if version >= _FLEXIBLE_FROM_VERSION and not (
        _SOFTWARE.fullmatch(request.client_software_name) and _SOFTWARE.fullmatch(request.client_software_version)
    ):
        return _response(broker, ErrorCode.invalid_request)
    key = (_KEY, version)
    if key not in broker.topics.encoded:
        broker.topics.encoded[key] = request_codec(_KEY, version, _SERVED).encode_body(_response(broker, ErrorCode.none))
    return Encoded([broker.topics.encoded[key]], None if version == 0 else -4 if version < _FLEXIBLE_FROM_VERSION else -5)


def _refuse(broker: Broker, _: bytes | memoryview, header: RequestHeader) -> bytes:
    return request_codec(_KEY, 0, _SERVED).encode(header.correlation_id, _response(broker, ErrorCode.unsupported_version))


def _response(broker: Broker, error: int) -> dict[str, Any]:
    keys = [
        {
            "api_key": api.key,
            "min_version": api.min_version if api.advertised_min_version is None else api.advertised_min_version,
            "max_version": api.max_version,
        }
        for _, api in sorted(broker.apis.items())
    ]
    return {"error_code": error, "api_keys": keys if error != ErrorCode.invalid_request else []}


API_VERSIONS = Api(_KEY, "ApiVersions", *_SERVED, _handle, refuse=_refuse)

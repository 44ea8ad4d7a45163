"""DescribeUserScramCredentials v0 and AlterUserScramCredentials v0 (KIP-554): users over the protocol.

What is told of a credential is its mechanism and its iterations, never salt or keys. A change ends no session, as in Kafka: a
user that was deleted is gone from its connections when they log in again (`connections.max.reauth.ms`).
"""

from collections import Counter
from typing import Any

from headrace.broker.broker import Broker
from headrace.broker.handlers.api import Answer, Api, RequestContext, Response
from headrace.broker.security.access import Operation
from headrace.broker.security.scram import SCRAM_MECHANISMS
from headrace.broker.security.users import Deletion, Upsertion
from headrace.broker.wire import ErrorCode
from headrace.errors import StorageError

_REFUSED = "Cluster authorization failed."


def _describe(broker: Broker, context: RequestContext, request: Any) -> Answer:
    if not context.may_cluster(Operation.DESCRIBE):
        return {"error_code": ErrorCode.cluster_authorization_failed, "error_message": _REFUSED, "results": []}
    users = broker.logins.users
    asked = Counter(user.name for user in request.users or ())
    results = [_described(broker, name, count) for name, count in (asked or Counter(users.names)).items()]
    return {"error_code": 0, "error_message": None, "results": results}


def _described(broker: Broker, name: str, count: int) -> dict[str, Any]:
    credentials = broker.logins.users.credentials(name)
    error, message = int(ErrorCode.none), None
    if count > 1:
        error = ErrorCode.duplicate_resource
        message = f"Cannot describe SCRAM credentials for the same user twice in a single request: {name}"
    elif not credentials:
        error, message = ErrorCode.resource_not_found, f"Attempt to describe a user credential that does not exist: {name}"
    told = [
        {"mechanism": SCRAM_MECHANISMS[mechanism].number, "iterations": credential.iterations}
        for mechanism, credential in sorted(credentials.items())
    ]
    return {"user": name, "error_code": error, "error_message": message, "credential_infos": [] if error else told}


async def _alter(broker: Broker, context: RequestContext, request: Any) -> Response:
    deletions = [Deletion(each.name, each.mechanism) for each in request.deletions]
    upsertions = [
        Upsertion(each.name, each.mechanism, each.iterations, bytes(each.salt), bytes(each.salted_password))
        for each in request.upsertions
    ]
    names = dict.fromkeys([change.name for change in deletions] + [change.name for change in upsertions])
    if not context.may_cluster(Operation.ALTER):
        return {"results": [_altered(name, (ErrorCode.cluster_authorization_failed, _REFUSED)) for name in names]}
    try:
        outcome = await broker.changes.make(broker.logins.users.alter(deletions, upsertions))
    except StorageError as error:
        outcome = {name: (ErrorCode.kafka_storage_error, str(error)) for name in names}
    return {"results": [_altered(name, fault) for name, fault in outcome.items()]}


def _altered(name: str, fault: tuple[int, str] | None) -> dict[str, Any]:
    error, message = fault or (0, None)
    return {"user": name, "error_code": error, "error_message": message}


DESCRIBE_USER_SCRAM_CREDENTIALS = Api(50, "DescribeUserScramCredentials", 0, 0, _describe)
ALTER_USER_SCRAM_CREDENTIALS = Api(51, "AlterUserScramCredentials", 0, 0, _alter)

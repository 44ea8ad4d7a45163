"""SaslHandshake v0-1 and SaslAuthenticate v0-2 (KIP-43, KIP-152, KIP-368). After SaslHandshake v0 tokens come as bare frames.

SaslAuthenticate v1 tells how long the session lasts; v2 is flexible. Where a connection stands is known to its
`Authentication`. A failure is answered late (`failed_logins.py`), and then the connection is closed by the server.
"""

from typing import Any

from headrace.broker.broker import Broker
from headrace.broker.handlers.api import Answer, Api, Charged, CloseConnectionError, RequestContext, Response
from headrace.broker.security.authentication import SASL_AUTHENTICATE as AUTHENTICATE_KEY
from headrace.broker.security.authentication import SASL_HANDSHAKE as HANDSHAKE_KEY
from headrace.broker.security.authentication import Authentication, State
from headrace.broker.security.exchange import Reason, Rejected
from headrace.broker.security.logins import Failure, Progress
from headrace.broker.session import Session
from headrace.broker.wire import ErrorCode


def _handshake(broker: Broker, context: RequestContext, request: Any) -> Answer:
    authentication = context.session.authentication
    if authentication is None:  # a listener that does not authenticate
        return {"error_code": ErrorCode.illegal_sasl_state, "mechanisms": ()}
    error = authentication.handshake(request.mechanism, context.api_version, now_ms=broker.clock.monotonic_ms())
    if authentication.state is State.FAILED:
        return _refused_handshake(broker, context.session, error, authentication)
    return {"error_code": error, "mechanisms": () if error else authentication.offered}


async def _refused_handshake(broker: Broker, session: Session, error: int, authentication: Authentication) -> Response:
    rejected = Rejected(Reason.MECHANISM, detail="a mechanism that is not enabled, or a handshake at the wrong time")
    await broker.logins.hold_back("unknown", session.client_host, rejected)
    return {"error_code": error, "mechanisms": authentication.offered}


def _authenticate(broker: Broker, context: RequestContext, request: Any) -> Answer:
    authentication = context.session.authentication
    if authentication is None or authentication.state is not State.TOKENS:
        if authentication is not None and not authentication.is_complete:
            raise CloseConnectionError("SaslAuthenticate before SaslHandshake")
        message = "SaslAuthenticate request received after successful authentication"
        return {"error_code": ErrorCode.illegal_sasl_state, "error_message": message, "auth_bytes": b"", "session_lifetime": 0}
    return _answer(broker, context.session, authentication, bytes(request.auth_bytes))


async def _answer(broker: Broker, session: Session, authentication: Authentication, token: bytes) -> Response:
    outcome = await _advance(broker, session, authentication, token)
    if isinstance(outcome, Failure):
        return {
            "error_code": ErrorCode.sasl_authentication_failed,
            "error_message": outcome.message,
            "auth_bytes": b"",
            "session_lifetime": 0,
        }
    return {"error_code": 0, "error_message": None, "auth_bytes": outcome.token, "session_lifetime": outcome.lifetime_ms}


async def bare_token(broker: Broker, session: Session, authentication: Authentication, token: bytes) -> Response:
    """The answer to a frame that is a token without a header.

    Raises:
        CloseConnectionError: the login failed, which cannot be said otherwise.
    """
    answer = await _answer(broker, session, authentication, token)
    if session.has_failed:
        raise CloseConnectionError("the login failed")
    return answer


async def _advance(broker: Broker, session: Session, authentication: Authentication, token: bytes) -> Progress | Failure:
    outcome = await broker.logins.advance(authentication, session.client_host, token)
    if authentication.is_complete and authentication.principal is not None:
        session.principal = authentication.principal
    return outcome


SASL_HANDSHAKE = Api(HANDSHAKE_KEY, "SaslHandshake", 0, 1, _handshake, cancelled_with_connection=True, charged=Charged.APART)
SASL_AUTHENTICATE = Api(
    AUTHENTICATE_KEY, "SaslAuthenticate", 0, 2, _authenticate, cancelled_with_connection=True, charged=Charged.APART
)

"""The interface between the server and a handler.

A handler module serves one API key, or a family. It has a module constant of type `Api` per key, named in `table.APIS`:

    def handle(broker: Broker, context: RequestContext, request: Any) -> Answer: …
    HEARTBEAT = Api(12, "Heartbeat", 0, 4, handle)

`request` is the decoded message: fields as attributes, under kio's names (`session_timeout` is a timedelta, see
`wire.schema.milliseconds`); a field that this version lacks has Kafka's default. The answer is a mapping with kio's
field names; what the version lacks is dropped, durations and times are integers in ms. So a handler is written once,
not per version.

A plain function answers at once; one that must wait returns an awaitable (usually by being `async def`). While it waits,
later requests of the connection are handled, and their answers kept back: answers go out in the order of requests. One that
would keep the loop for more than a millisecond is a generator, and yields where others may have a turn; later requests of its
connection wait until it is done, so that what it changes is changed in order.
None means that no answer is sent (Produce with acks=0). Raising `CloseConnectionError` closes the connection.
"""

from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from headrace.broker.security.access import CLUSTER_NAME, OPERATIONS_ON, Operation, ResourceType
from headrace.broker.session import Session
from headrace.broker.wire.header import RequestHeader
from headrace.errors import PeerError

if TYPE_CHECKING:
    from headrace.broker.broker import Broker


class CloseConnectionError(PeerError):
    """A handler cannot answer in the protocol; the message says why, in one line."""


@dataclass(slots=True)
class Encoded:
    """A response body that is already bytes, in the encoding of the request's version; sent part by part.

    `throttle_at` is where its throttle time stands, four bytes: counted from the start of the first part or, where it is
    negative, from the end of the last; None where this version has none.
    """

    parts: Sequence[Any]
    throttle_at: int | None = None


@dataclass(slots=True)  # not frozen, as is Encoded: one is made per request, and that takes twice as long
class RequestContext:
    """What a handler may know of who asks.

    `flexible` says whether this version answers in the flexible encoding; `started_ns` is when the request was taken up
    (`time.perf_counter_ns`). Every handler asks `may` before it does or tells
    anything.
    """

    api_version: int
    flexible: bool
    client_id: str | None
    session: Session
    started_ns: int

    def may(self, operation: Operation, kind: ResourceType, name: str) -> bool:
        """Whether this client may do this to that resource; if not, it is refused, which is counted and logged."""
        session = self.session
        if session.authorizer.allows(session.principal, session.client_host, operation, kind, name):
            return True
        session.authorizer.denied(session.principal, session.client_host, operation, kind, name)
        return False

    def may_cluster(self, operation: Operation) -> bool:
        """The same of the cluster itself."""
        return self.may(operation, ResourceType.CLUSTER, CLUSTER_NAME)

    def sees(self, operation: Operation, kind: ResourceType, name: str) -> bool:
        """The same where a no refuses nothing: something is left out, or another right would do as well (logIfDenied)."""
        session = self.session
        return session.authorizer.allows(session.principal, session.client_host, operation, kind, name)

    def sees_cluster(self, operation: Operation) -> bool:
        """The same of the cluster itself."""
        return self.sees(operation, ResourceType.CLUSTER, CLUSTER_NAME)

    def may_some(self, operation: Operation, kind: ResourceType) -> bool:
        """Whether this client may do this to at least one resource of that kind."""
        session = self.session
        return session.authorizer.allows_some(session.principal, session.client_host, operation, kind)

    def operations(self, kind: ResourceType, name: str) -> int:
        """What this client may do to that resource: a bit for each operation, by its number (KIP-430)."""
        return sum(1 << operation for operation in OPERATIONS_ON[kind] if self.sees(operation, kind, name))

    def cluster_operations(self) -> int:
        """The same of the cluster itself; 0 for who may not describe it."""
        may_ask = self.sees_cluster(Operation.DESCRIBE)
        return self.operations(ResourceType.CLUSTER, CLUSTER_NAME) if may_ask else 0


Response = Mapping[str, Any] | Encoded | None
Steps = Generator[None, None, Response | Awaitable[Response]]
Answer = Response | Awaitable[Response] | Steps
Handler = Callable[["Broker", RequestContext, Any], Answer]
Refusal = Callable[["Broker", bytes | memoryview, RequestHeader], bytes | None]


class Charged(Enum):
    """How a request counts against its client's quotas."""

    TIME = "time"  # by how long it keeps the event loop
    BYTES = "bytes"  # by its size, and by time if it is answered
    APART = "apart"  # by its handler, or not at all


@dataclass(frozen=True, slots=True)
class Api:
    """One API key: its name in Kafka's words, the versions truly served, and its handler.

    `advertised_min_version`, where it differs, is what ApiVersions says (Produce only, KAFKA-18659). `refuse` makes the answer,
    header included, to a version that is not served (ApiVersions, Produce); without it, or where it returns None, the
    connection is closed. `cancelled_with_connection`: a call that waits may be cancelled when its client is gone.
    """

    key: int
    name: str
    min_version: int
    max_version: int
    handle: Handler
    advertised_min_version: int | None = None
    refuse: Refusal | None = None
    cancelled_with_connection: bool = False
    charged: Charged = Charged.TIME

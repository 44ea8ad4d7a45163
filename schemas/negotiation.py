"""In which of its media types the registry is spoken to and answers, as in Confluent's: 406 and 415 for all others."""

from collections.abc import Sequence
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from headrace.schemas.client import CONTENT_TYPE
from headrace.schemas.refusals import RestError

UNNEGOTIATED: Final = frozenset({"/healthz", "/readyz", "/metrics"})  # these have types of their own
_ANSWERED: Final = (CONTENT_TYPE, "application/vnd.schemaregistry+json", "application/json")  # best first
_READ: Final = (*_ANSWERED, "application/octet-stream")


@web.middleware
async def negotiated(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse what is in no type that we read, or wants none that we write; answer in the one that is wanted most."""
    if request.path in UNNEGOTIATED or request.match_info.http_exception is not None:
        return await handler(request)
    wanted = preferred(", ".join(request.headers.getall("Accept", ())))
    if wanted is None:
        raise RestError(406, 406, "HTTP 406 Not Acceptable")
    if request.body_exists and "Content-Type" in request.headers and request.content_type not in _READ:
        raise RestError(415, 415, "HTTP 415 Unsupported Media Type")
    response = await handler(request)
    response.content_type = wanted
    return response


def preferred(accept: str) -> str | None:
    """Of the types that an Accept header names (none: any) the one of ours with the greatest weight; None if it names none."""
    ranges = [_range(one) for one in accept.split(",") if one.strip()] or [("*", "*", 1.0)]
    weights = {one: max((weight for *named, weight in ranges if _matches(named, one)), default=0.0) for one in _ANSWERED}
    best = max(_ANSWERED, key=lambda one: weights[one])
    return best if weights[best] > 0 else None


def _range(text: str) -> tuple[str, str, float]:
    name, *parameters = (part.strip().lower() for part in text.split(";"))
    main, _, sub = name.partition("/")
    given = dict(part.partition("=")[::2] for part in parameters)
    try:
        weight = float(given.get("q", "1"))
    except ValueError:
        weight = 0.0
    return main, sub or "*", weight


def _matches(named: Sequence[object], offered: str) -> bool:
    main, sub = offered.split("/")
    return named[0] == "*" or (named[0] == main and named[1] in ("*", sub))

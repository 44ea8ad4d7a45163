"""The registry's HTTP interface: Confluent Schema Registry's REST API.

The routes are in `rest_*.py`; here is what is around each: who may ask, errors in Confluent's form, nothing before the log is
read. Query parameters and headers that we do not know are ignored, as newer clients expect. Every route is also under
`/contexts/{context}`, where names without a context of their own are in that one, and may end with a slash.
Source: Confluent Schema Registry API reference; research/sinks.md §3.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Final

import prometheus_client
from aiohttp import web

from headrace.schemas import rest_associations, rest_metadata, rest_schemas, rest_settings, rest_subjects
from headrace.schemas.access import AccessControl, admission, challenge
from headrace.schemas.negotiation import negotiated
from headrace.schemas.places import ASKING, noted
from headrace.schemas.refusals import RestError
from headrace.schemas.registry import Registry
from headrace.schemas.requests import REGISTRY, answer
from headrace.schemas.subjects import IN_CONTEXT

logger = logging.getLogger(__name__)
MAX_BODY_BYTES: Final = 900_000  # a record of _schemas must fit what brokers take by default
_ALWAYS_SERVED: Final = ("/healthz", "/metrics")
_requests = prometheus_client.Counter("headrace_registry_requests", "Answers given", ["status"])
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def application(registry: Registry, access: AccessControl | None = None) -> web.Application:
    """The interface of one registry; without `access` everybody may ask for everything."""
    admitting = [] if access is None else [admission(access)]
    app = web.Application(middlewares=[noted, _errors, *admitting, negotiated, _until_ready], client_max_size=MAX_BODY_BYTES)
    app[REGISTRY] = registry
    app[ASKING] = set()
    app.router.add_routes(_routes)
    for each in (rest_subjects, rest_schemas, rest_settings, rest_associations, rest_metadata):
        for route in each.routes:
            assert isinstance(route, web.RouteDef)
            for prefix in ("",) if route.path.startswith("/contexts") else ("", IN_CONTEXT):
                for end in ("", "/"):
                    app.router.add_routes([web.route(route.method, prefix + route.path + end, route.handler)])
    return app


_routes = web.RouteTableDef()


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error in Confluent's form."""
    try:
        response = await handler(request)
    except RestError as error:
        response = _error(error.status, error.code, str(error))
        challenge(response)
    except web.HTTPException as error:
        response = _error(error.status, error.status, f"HTTP {error.status} {error.reason}")
        if "Allow" in error.headers:
            response = web.Response() if request.method == "OPTIONS" else response
            response.headers["Allow"] = f"{error.headers['Allow']},OPTIONS"
    except ConnectionError:  # nobody hears it
        response = _error(400, 400, "the client went away")
    except Exception:  # the supervisor of handlers: one request fails, the registry goes on
        logger.exception("request failed", extra={"method": request.method, "path": request.path})
        response = _error(500, 500, "Internal Server Error; the registry's log says more")
    _requests.labels(str(response.status)).inc()
    return response


@web.middleware
async def _until_ready(request: web.Request, handler: Handler) -> web.StreamResponse:
    if request.path not in _ALWAYS_SERVED and not request.app[REGISTRY].ready.is_set():
        raise RestError(503, 50301, "the registry has not yet read its log; is the broker running? Try again")
    return await handler(request)


def _error(status: int, code: int, message: str) -> web.Response:
    return answer({"error_code": code, "message": message}, status)


@_routes.get("/")
async def _root(_: web.Request) -> web.Response:
    return answer({})


@_routes.get("/healthz")
async def _health(_: web.Request) -> web.Response:
    return web.Response(text="ok\n")


@_routes.get("/readyz")
async def _ready(_: web.Request) -> web.Response:
    return web.Response(text="ok\n")  # `_until_ready` answers before


@_routes.get("/metrics")
async def _metrics(_: web.Request) -> web.Response:
    return web.Response(
        body=prometheus_client.generate_latest(), headers={"Content-Type": prometheus_client.CONTENT_TYPE_LATEST}
    )

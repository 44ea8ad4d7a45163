"""Bounds the registry's connections: aiohttp waits for ever for the first request of each, and anybody may connect.

Beyond the bound the oldest that asks for nothing is closed, so that a thousand silent ones keep nobody out.
"""

import resource
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler

_MOST: Final = 2000
ASKING: Final = web.AppKey("asking", set[Any])


class Places:
    """Makes what serves a connection, for `loop.create_server`."""

    def __init__(self, server: web.Server, asking: set[Any], most: int | None = None) -> None:
        """`asking` are those being served; `most` is by default 2,000, or half of the files that the process may open."""
        self._server, self._asking = server, asking
        self._most = most or min(_MOST, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)

    def __call__(self) -> Any:
        connections = [each for each in self._server.connections if each.transport is not None]  # not closed already
        if len(connections) >= self._most:
            idle = (each for each in connections if each not in self._asking)
            next(idle, connections[0]).force_close()
        return self._server()


@web.middleware
async def noted(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Put around the work on each request: while it lasts, its connection is in the application's ASKING."""
    request.app[ASKING].add(request.protocol)
    try:
        return await handler(request)
    finally:
        request.app[ASKING].discard(request.protocol)

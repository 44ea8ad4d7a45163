"""Routes under /config and /mode."""

import json
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from headrace.schemas.compatibility import DEFAULT_LEVEL, LEVELS
from headrace.schemas.records import MODES
from headrace.schemas.refusals import RestError
from headrace.schemas.requests import REGISTRY, answer, body_of, flag, no_subject, scope_of
from headrace.schemas.settings import DEFAULT_MODE, LEVEL, MEMBERS

routes = web.RouteTableDef()
_IN_REQUESTS: Final = "compatibility"  # the level, as PUT has it


@routes.get("/config")
@routes.get("/config/{subject}")
async def get_config(request: web.Request) -> web.Response:
    """What was set; with `defaultToGlobal=true` what counts."""
    scope, settings = scope_of(request), request.app[REGISTRY].store.settings
    if scope is None or flag(request, "defaultToGlobal"):
        return answer(settings.config_in_force(scope))
    config = settings.config(scope)
    if not config:
        raise RestError(404, 40408, f"Subject '{scope}' does not have subject-level compatibility configured")
    return answer(config)


@routes.put("/config")
@routes.put("/config/{subject}")
async def put_config(request: web.Request) -> web.Response:
    """Set members of a configuration; those that are not named stay, null takes back."""
    scope, changes = scope_of(request), _changes(await body_of(request))
    await request.app[REGISTRY].set_config(scope, changes)
    return answer({_IN_REQUESTS if name == LEVEL else name: value for name, value in changes.items()})


def _changes(body: Mapping[str, Any]) -> dict[str, Any]:
    named = {LEVEL if name == _IN_REQUESTS else name: value for name, value in body.items()}
    level = named.get(LEVEL)
    if isinstance(level, str):
        named[LEVEL] = level = level.upper()
    if level not in (*LEVELS, None) or not named:
        raise RestError(422, 42203, f"Invalid compatibility level. Valid values are {', '.join(LEVELS)}")
    for name, value in named.items():
        if name not in MEMBERS:
            raise RestError(422, 42203, f"{name[:100]!r} is no member of a configuration; there are {', '.join(MEMBERS)}")
        if value is not None and type(value) is not MEMBERS[name]:
            raise RestError(422, 42203, f"{name} is not of type {MEMBERS[name].__name__}")
    try:
        json.dumps(named, allow_nan=False, ensure_ascii=False).encode()
    except ValueError as error:
        raise RestError(422, 42203, f"Invalid configuration: {error}") from error
    return named


@routes.delete("/config")
@routes.delete("/config/{subject}")
async def delete_config(request: web.Request) -> web.Response:
    """Take a configuration back; answers what it was."""
    scope, registry = scope_of(request), request.app[REGISTRY]
    config = dict(registry.store.settings.config(scope))
    if not config and scope is not None:
        raise no_subject(scope)
    if config:
        await registry.unset_config(scope)
    return answer(config or {LEVEL: DEFAULT_LEVEL})


@routes.get("/mode")
@routes.get("/mode/{subject}")
async def get_mode(request: web.Request) -> web.Response:
    """What was set; with `defaultToGlobal=true` what counts."""
    scope, settings = scope_of(request), request.app[REGISTRY].store.settings
    if scope is None or flag(request, "defaultToGlobal"):
        return answer({"mode": settings.mode_in_force(scope)})
    mode = settings.mode(scope)
    if mode is None:
        raise RestError(404, 40409, f"Subject '{scope}' does not have subject-level mode configured")
    return answer({"mode": mode})


@routes.put("/mode")
@routes.put("/mode/{subject}")
async def put_mode(request: web.Request) -> web.Response:
    """Set a mode."""
    scope, mode = scope_of(request), (await body_of(request)).get("mode")
    mode = mode.upper() if isinstance(mode, str) else mode
    if mode not in MODES or mode == "FORWARD":
        raise RestError(422, 42204, "Invalid mode. Valid values are READWRITE, READONLY, READONLY_OVERRIDE, IMPORT")
    await request.app[REGISTRY].set_mode(scope, mode, force=flag(request, "force"))
    return answer({"mode": mode})


@routes.delete("/mode")
@routes.delete("/mode/{subject}")
async def delete_mode(request: web.Request) -> web.Response:
    """Take a mode back; answers what it was."""
    scope, registry = scope_of(request), request.app[REGISTRY]
    mode = registry.store.settings.mode(scope)
    if mode is None and scope is not None:
        raise no_subject(scope)
    if mode is not None:
        await registry.unset_mode(scope)
    return answer({"mode": mode or DEFAULT_MODE})

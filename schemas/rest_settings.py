"""Routes under /config and /mode."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from aiohttp import web

from headrace.schemas.compatibility import DEFAULT_LEVEL, LEVELS, POLICIES
from headrace.schemas.contract import InvalidRulesError, metadata_of, rules_of
from headrace.schemas.records import LEVEL, MEMBERS, MODES
from headrace.schemas.refusals import RestError
from headrace.schemas.requests import REGISTRY, answer, body_of, flag, no_subject, scope_of
from headrace.schemas.settings import DEFAULT_MODE

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
    return answer({LEVEL: DEFAULT_LEVEL, **config})


@routes.put("/config")
@routes.put("/config/{subject}")
async def put_config(request: web.Request) -> web.Response:
    """Set members of a configuration; those that are not named stay, null takes back."""
    scope, changes = scope_of(request), _changes(await body_of(request))
    config = await request.app[REGISTRY].set_config(scope, changes)
    return answer({_IN_REQUESTS if name == LEVEL else name: value for name, value in config.items()})


def _changes(body: Mapping[str, Any]) -> dict[str, Any]:
    """Those members that are known; others are read over, as newer clients expect."""
    named = {LEVEL if name == _IN_REQUESTS else name: value for name, value in body.items()}
    changes = {name: named[name] for name in MEMBERS if name in named}
    for name, allowed, what in ((LEVEL, LEVELS, "level"), ("compatibilityPolicy", POLICIES, "policy")):
        if isinstance(changes.get(name), str):
            changes[name] = changes[name].upper()
        if changes.get(name) not in (*allowed, None):
            raise RestError(422, 42203, f"Invalid compatibility {what}. Valid values are {_listed(allowed)}")
    for name, value in changes.items():
        if value is not None and type(value) is not MEMBERS[name]:
            raise RestError(400, 400, f"{name} is not of type {MEMBERS[name].__name__}")
    return {**changes, **_contracts(changes)}


def _listed(allowed: Sequence[str]) -> str:
    *first, last = [one.lower() for one in allowed]
    return f"{', '.join(first)}, and {last}"


def _contracts(changes: Mapping[str, Any]) -> dict[str, Any]:
    try:
        for name in ("alias", "compatibilityGroup"):
            str(changes.get(name)).encode()
        metadata = {name: metadata_of(changes[name]) for name in ("defaultMetadata", "overrideMetadata") if name in changes}
        return metadata | {name: rules_of(changes[name]) for name in ("defaultRuleSet", "overrideRuleSet") if name in changes}
    except InvalidRulesError as error:
        raise RestError(422, 42210, f"Invalid rule set: {error}") from error
    except ValueError as error:
        raise RestError(422, 42203, f"Invalid configuration: {error}") from error


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
    return answer({LEVEL: DEFAULT_LEVEL, **config})


@routes.get("/mode")
@routes.get("/mode/{subject}")
async def get_mode(request: web.Request) -> web.Response:
    """What was set; with `defaultToGlobal=true` what counts."""
    scope, settings = scope_of(request), request.app[REGISTRY].store.settings
    if scope is None or flag(request, "defaultToGlobal"):
        return answer({"mode": settings.mode_in_force(scope)})
    mode = settings.override or settings.mode(scope)
    if mode is None:
        raise RestError(404, 40409, f"Subject '{scope}' does not have subject-level mode configured")
    return answer({"mode": mode})


@routes.put("/mode")
@routes.put("/mode/{subject}")
async def put_mode(request: web.Request) -> web.Response:
    """Set a mode; null takes it back."""
    scope, body = scope_of(request), await body_of(request)
    mode = body.get("mode")
    if mode is None and "mode" in body:
        await request.app[REGISTRY].unset_mode(scope)
        return answer({"mode": None})
    mode = mode.upper() if isinstance(mode, str) else mode
    if mode not in MODES or mode == "FORWARD":
        raise RestError(422, 42204, "Invalid mode. Valid values are READWRITE, READONLY, READONLY_OVERRIDE, and IMPORT.")
    await request.app[REGISTRY].set_mode(scope, mode, force=flag(request, "force"))
    return answer({"mode": mode})


@routes.delete("/mode")
@routes.delete("/mode/{subject}")
async def delete_mode(request: web.Request) -> web.Response:
    """Take a mode back; answers what it was. With `recursive=true` those of a context's subjects too."""
    scope, registry, recursive = scope_of(request), request.app[REGISTRY], flag(request, "recursive")
    mode = registry.store.settings.mode(scope)
    if mode is None and scope is not None and not recursive:
        raise no_subject(scope)
    await registry.unset_mode(scope, recursive=recursive)
    return answer({"mode": mode or (DEFAULT_MODE if scope is None else None)})

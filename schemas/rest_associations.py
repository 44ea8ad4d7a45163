"""Routes under /associations."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from aiohttp import web

from headrace.schemas import judging
from headrace.schemas.associations import ANY_NAMESPACE, LIFECYCLES, TYPES, Association, AssociationKey
from headrace.schemas.refusals import RestError
from headrace.schemas.requests import REGISTRY, answer, body_of, flag, named_subject, page, schema_of

routes = web.RouteTableDef()
_TOPIC: Final = "topic"  # the one type of resources that there is
_MOST: Final = 100
_LONGEST_NAME: Final = 1000


def _wrong(name: str, detail: str) -> RestError:
    text = f"The association specified an invalid value for property: '{name}', detail: {detail}"
    return RestError(422, 42212, text)


def _found(request: web.Request, **members: str) -> list[Association]:
    """Those that a request asks for."""
    lifecycle = request.query.get("lifecycle", "").upper() or None
    if lifecycle not in (None, *LIFECYCLES):
        raise _wrong("lifecycle", f"must be one of {', '.join(LIFECYCLES)}")
    members["resourceType"] = request.query.get("resourceType") or _TOPIC
    types = request.query.getall("associationType", [])
    return request.app[REGISTRY].store.associations.found(types=types, lifecycle=lifecycle, **members)


def _told(request: web.Request, found: list[Association]) -> web.Response:
    return answer([one.members() for one in page(request, found)])


@routes.get("/associations/subjects/{subject}")
async def get_by_subject(request: web.Request) -> web.Response:
    """What a subject is associated with."""
    return _told(request, _found(request, subject=named_subject(request, request.match_info["subject"])))


@routes.get("/associations/resources/{resource}")
async def get_by_resource(request: web.Request) -> web.Response:
    """What a resource is associated with, by its id."""
    return _told(request, _found(request, resourceId=request.match_info["resource"]))


@routes.get("/associations/resources/{namespace}/{name}")
async def get_by_name(request: web.Request) -> web.Response:
    """What a resource is associated with, by its name in a namespace (`-`: in any)."""
    members = {"resourceName": request.match_info["name"], "resourceNamespace": request.match_info["namespace"]}
    if members["resourceNamespace"] == ANY_NAMESPACE:
        del members["resourceNamespace"]
    return _told(request, _found(request, **members))


@routes.post("/associations")
async def create(request: web.Request) -> web.Response:
    """Associate a resource with subjects; where it is associated already, otherwise, that is an error."""
    return await _associate(request, await body_of(request), only_new=True)


@routes.put("/associations/resources/{resource}")
async def create_or_update(request: web.Request) -> web.Response:
    """Associate a resource with subjects, or change how it is."""
    body, resource = await body_of(request), request.match_info["resource"]
    if body.setdefault("resourceId", resource) != resource:
        raise _wrong("resourceId", "Resource ID in the path parameter does not match the resource ID in the request body")
    return await _associate(request, body, only_new=False)


async def _associate(request: web.Request, body: Mapping[str, Any], *, only_new: bool) -> web.Response:
    registry, dry = request.app[REGISTRY], flag(request, "dryRun")
    resource = _resource_of(body, dry=dry)
    asked = [_asked(request, body, one) for one in body["associations"]]
    if len({one.key.place for one, _ in asked}) < len(asked):
        raise _wrong("associations", "more than one of a type")
    wanted = [_judged(request, one, info, only_new=only_new) for one, info in asked]
    for one in wanted:
        if one.lifecycle == "STRONG" and sum(other.key.subject == one.key.subject for other in wanted) > 1:
            raise RestError(409, 40904, f"An association already exists for subject '{one.key.subject}'")
    if dry:
        return answer(resource)
    for one, (_, info) in zip(wanted, asked, strict=True):
        if info.get("schema") is not None:
            schema = await schema_of(request, one.key.subject, info["schema"], new=True)
            await registry.register(one.key.subject, schema)

    def decide() -> list[tuple[bytes, bytes | None]]:
        again = [_judged(request, one, info, only_new=only_new) for one, info in asked]
        return [(one.key.encode(), one.encode()) for one in again]

    await registry.change(decide)
    if any(registry.store.associations.at(one.key.place) != one for one in wanted):
        raise RestError(409, 40903, "Another registry associated the resource or the subject meanwhile; try again")
    infos = [{name: one.members()[name] for name in ("subject", "associationType", "lifecycle", "frozen")} for one in wanted]
    told = [
        {**one, **({"schema": info["schema"]} if info.get("schema") else {})}
        for one, (_, info) in zip(infos, asked, strict=True)
    ]
    return answer({**resource, "associations": told})


def _resource_of(body: Mapping[str, Any], *, dry: bool) -> dict[str, Any]:
    """The members that say which resource it is."""
    for name in ("resourceName", "resourceNamespace", "resourceId"):
        value = body.get(name)
        if name == "resourceId" and dry and value is None:
            continue
        if not isinstance(value, str) or not value or len(value) > _LONGEST_NAME or not value.isprintable():
            raise _wrong(name, "must be a name")
    if body.get("resourceType") not in (None, "", _TOPIC):
        raise _wrong("resourceType", f"must be '{_TOPIC}'")
    infos = body.get("associations")
    if not isinstance(infos, list) or not infos or len(infos) > _MOST or not all(isinstance(one, dict) for one in infos):
        raise _wrong("associations", "must be a list of associations")
    names = ("resourceName", "resourceNamespace", "resourceId")
    return {**{name: body[name] for name in names if body.get(name)}, "resourceType": _TOPIC}


def _asked(request: web.Request, body: Mapping[str, Any], info: Mapping[str, Any]) -> tuple[Association, Mapping[str, Any]]:
    kind, lifecycle, frozen = info.get("associationType") or "value", info.get("lifecycle"), info.get("frozen")
    subject = info.get("subject") or f":.{body['resourceNamespace']}:{body['resourceName']}-{kind}"
    if kind not in TYPES:
        raise _wrong("associationType", f"must be one of {', '.join(TYPES)}")
    if lifecycle not in (None, *LIFECYCLES):
        raise _wrong("lifecycle", f"must be one of {', '.join(LIFECYCLES)}")
    if frozen not in (None, True, False) or not isinstance(subject, str) or not isinstance(info.get("schema"), dict | None):
        raise RestError(400, 400, "subject is no string, frozen is neither true nor false, or schema is no object")
    key = AssociationKey(body["resourceName"], body["resourceNamespace"], _TOPIC, kind, named_subject(request, subject))
    return Association(key, str(body.get("resourceId") or ""), lifecycle or "WEAK", frozen is True), info


def _judged(request: web.Request, asked: Association, info: Mapping[str, Any], *, only_new: bool) -> Association:
    """The association that one that is asked for becomes."""
    store = request.app[REGISTRY].store
    judging.may_change(store, asked.key.subject)
    bound = store.associations.at(asked.key.place)
    if bound is None:
        if asked.frozen and asked.lifecycle == "WEAK":
            raise _wrong("frozen", "association with lifecycle of WEAK cannot be frozen")
        if info.get("schema") is None and not store.versions(asked.key.subject):
            raise RestError(409, 40907, f"No active (non-deleted) version exists for subject '{asked.key.subject}'")
        new = asked
    else:
        new = _changed(bound, asked, info, only_new=only_new)
    conflict = store.associations.conflict(new)
    if conflict is not None:
        raise conflict
    return new


def _changed(bound: Association, asked: Association, info: Mapping[str, Any], *, only_new: bool) -> Association:
    given = {name: info[name] for name in ("lifecycle", "frozen") if info.get(name) is not None}
    same = bound.key == asked.key and bound.resource_id == asked.resource_id and given.items() <= bound.members().items()
    if same:
        return bound
    kind = bound.key.association_type
    if only_new or bound.resource_id != asked.resource_id:
        raise RestError(409, 40903, f"An association of type '{kind}' already exists for resource '{bound.resource_id}'")
    if bound.key != asked.key:
        raise _wrong("subject", "subject of association cannot be changed")
    if given.get("frozen", bound.frozen) != bound.frozen:
        raise _wrong("frozen", "frozen attribute of association cannot be changed")
    if bound.frozen:
        raise RestError(409, 40908, f"The association of type '{kind}' is frozen for subject '{bound.key.subject}'")
    return replace(bound, lifecycle=given.get("lifecycle", bound.lifecycle))


@routes.delete("/associations/resources/{resource}")
async def delete(request: web.Request) -> web.Response:
    """Take associations of a resource back; with `cascadeLifecycle=true` the subjects of strong ones are deleted, softly."""
    registry, resource, cascade = request.app[REGISTRY], request.match_info["resource"], flag(request, "cascadeLifecycle")
    found = _found(request, resourceId=resource)
    if not found:
        raise RestError(404, 40410, f"Association for '{resource}' not found.")
    for one in found:
        judging.may_change(registry.store, one.key.subject)
        if one.frozen and not cascade:
            what = f"The association of type '{one.key.association_type}' is frozen for subject '{one.key.subject}'"
            raise RestError(409, 40908, what)
    if not flag(request, "dryRun"):
        for one in found:
            versions = registry.store.versions(one.key.subject)
            if cascade and one.lifecycle == "STRONG" and versions:
                await registry.delete_subject(one.key.subject, versions)
        await registry.change(lambda: [(one.key.encode(), None) for one in found])
    return web.Response(status=204)

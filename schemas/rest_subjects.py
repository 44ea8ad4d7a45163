"""Routes under /subjects and /compatibility."""

from typing import Any

from aiohttp import web

from headrace.schemas import judging
from headrace.schemas.framing import MAX_ID
from headrace.schemas.refusals import RestError
from headrace.schemas.registry import NEXT, Chosen
from headrace.schemas.requests import (
    REGISTRY,
    answer,
    body_of,
    described,
    flag,
    no_subject,
    page,
    schema_of,
    subject_of,
    told,
    version_of,
    versions_of,
)
from headrace.schemas.rest_schemas import prefix_of, text_of
from headrace.schemas.store import Version

routes = web.RouteTableDef()


@routes.get("/subjects")
async def list_subjects(request: web.Request) -> web.Response:
    """Names, of all contexts unless `subjectPrefix` says otherwise."""
    store, prefix = request.app[REGISTRY].store, prefix_of(request)
    found = store.subjects(deleted=flag(request, "deleted") or flag(request, "deletedOnly"), prefix=prefix)
    if flag(request, "deletedOnly"):
        found = [subject for subject in found if not store.versions(subject)]
    return answer(page(request, found))


@routes.post("/subjects/{subject}/versions")
async def register(request: web.Request) -> web.Response:
    """Register a schema, or find it."""
    subject, body = subject_of(request), await body_of(request)
    chosen = Chosen(_chosen(body, "id"), _chosen(body, "version", least=NEXT))
    schema = await schema_of(request, subject, _with_text(request, subject, body), new=chosen.id is None)
    version = await request.app[REGISTRY].register(subject, schema, chosen)
    said = described(request, version)
    if request.headers.get("Confluent-Accept-Unknown-Properties", "").lower() != "true":
        del said["guid"]
    if version.schema.has_contract:  # it may have got metadata and rules from elsewhere; the text comes as it was sent
        return answer({**said, "schema": body["schema"]} if body.get("schema") else said)
    return answer({name: said[name] for name in ("id", "version", "guid") if "guid" in said or name == "id"})


def _chosen(body: dict[str, Any], name: str, least: int = 1) -> int | None:
    value = body.get(name)
    if value is None or value == 0 or (value == -1 and least > 0):
        return None
    if type(value) is not int or not least <= value <= MAX_ID:
        raise RestError(422, 42201, f"{name} is no number from 1 to 2^31-1")
    return value


def _with_text(request: web.Request, subject: str, body: dict[str, Any]) -> dict[str, Any]:
    """A body that brings metadata or rules alone gets the newest schema."""
    earlier = request.app[REGISTRY].store.versions(subject)
    if body.get("schema") or not earlier or not (body.get("metadata") or body.get("ruleSet")):
        return body
    last = {name: value for name, value in earlier[-1].schema.members().items() if name not in ("metadata", "ruleSet")}
    return {"schemaType": "AVRO", "references": [], **{name: body[name] for name in body if name != "schema"}, **last}


@routes.post("/subjects/{subject}")
async def look_up(request: web.Request) -> web.Response:
    """Find a schema under a subject, or under one of that name in another context."""
    subject, body, deleted = subject_of(request), await body_of(request), flag(request, "deleted")
    registry = request.app[REGISTRY]
    if not body.get("schema"):
        await versions_of(request, subject, deleted=deleted)  # that there is no such subject goes first
    schema = await schema_of(request, subject, body)
    found = await registry.look_up(subject, schema, deleted=deleted)
    if found is None:
        await registry.known(lambda: None)  # another registry may have taken it a moment ago
        found = await registry.look_up(subject, schema, deleted=deleted)
    for one in registry.store.elsewhere(subject) if found is None else ():
        found = found or await registry.look_up(one.subject, schema, deleted=deleted)
    if found is not None:
        return answer(described(request, found))
    if not registry.store.versions(subject, deleted=deleted):
        raise no_subject(subject)
    raise RestError(404, 40403, "Schema not found")


@routes.get("/subjects/{subject}/versions")
async def list_versions(request: web.Request) -> web.Response:
    """Numbers of versions."""
    only = flag(request, "deletedOnly")
    found = await versions_of(request, subject_of(request), deleted=flag(request, "deleted") or only)
    return answer(page(request, [one.version for one in found if one.value.deleted or not only]))


@routes.get("/subjects/{subject}/versions/{version}")
async def get_version(request: web.Request) -> web.Response:
    """A version."""
    deleted = flag(request, "deleted")
    version = await version_of(request, deleted=deleted, anywhere=True)
    said = {**described(request, version), "schema": await text_of(request, version)}
    return answer({**said, "deleted": version.value.deleted} if deleted else said)


@routes.get("/subjects/{subject}/versions/{version}/schema")
async def get_version_schema(request: web.Request) -> web.Response:
    """The text of a version alone."""
    version = await version_of(request, deleted=flag(request, "deleted"), anywhere=True)
    return told(await text_of(request, version))


@routes.get("/subjects/{subject}/versions/{version}/referencedby")
async def get_referenced_by(request: web.Request) -> web.Response:
    """Ids of what refers to a version."""
    found = request.app[REGISTRY].store.referrers(await version_of(request, deleted=True))
    return answer(sorted({one.value.id for one in found if flag(request, "deleted") or not one.value.deleted}))


@routes.get("/subjects/{subject}/metadata")
async def get_latest_with_metadata(request: web.Request) -> web.Response:
    """The newest version whose metadata has these properties (`key` and `value`, any number of pairs)."""
    subject = subject_of(request)
    wanted = dict(zip(request.query.getall("key", []), request.query.getall("value", []), strict=False))
    found = await versions_of(request, subject, deleted=flag(request, "deleted"))
    for version in reversed(found):
        properties = (version.schema.metadata or {}).get("properties")
        if isinstance(properties, dict) and wanted.items() <= properties.items():
            return answer({**described(request, version), "schema": await text_of(request, version)})
    raise RestError(404, 40403, "Schema not found")


@routes.delete("/subjects/{subject}/versions/{version}")
async def delete_version(request: web.Request) -> web.Response:
    """Delete a version: softly, and then with `permanent=true` for good."""
    permanent = flag(request, "permanent")
    version = await version_of(request, deleted=True)
    what = f"Subject '{version.subject}' Version {version.version} was"
    if permanent and not version.value.deleted:
        raise RestError(404, 40407, f"{what} not deleted first before being permanently deleted")
    if not permanent and version.value.deleted:
        raise RestError(404, 40406, f"{what} soft deleted.Set permanent=true to delete permanently")
    registry = request.app[REGISTRY]
    await (registry.delete_for_good([version]) if permanent else registry.delete_version(version))
    return answer(version.version)


@routes.delete("/subjects/{subject}")
async def delete_subject(request: web.Request) -> web.Response:
    """Delete all versions of a subject: softly, and then with `permanent=true` for good."""
    subject, registry, permanent = subject_of(request), request.app[REGISTRY], flag(request, "permanent")
    versions = await versions_of(request, subject, deleted=True)
    lives = [one for one in versions if not one.value.deleted]
    if permanent and lives:
        raise RestError(404, 40405, f"Subject '{subject}' was not deleted first before being permanently deleted")
    if not permanent and not lives:
        raise RestError(404, 40404, f"Subject '{subject}' was soft deleted.Set permanent=true to delete permanently")
    await (registry.delete_for_good(versions) if permanent else registry.delete_subject(subject, lives))
    return answer([one.version for one in (versions if permanent else lives)])


@routes.post("/compatibility/subjects/{subject}/versions/{version}")
async def check_against_version(request: web.Request) -> web.Response:
    """Whether a schema is compatible with one version."""
    subject = subject_of(request)
    there, newest = request.app[REGISTRY].store.versions(subject), request.match_info["version"] in ("latest", "-1")
    against = [] if newest and not there else [await version_of(request, deleted=False)]
    return await _compatibility(request, subject, against)


@routes.post("/compatibility/subjects/{subject}/versions")
async def check_against_all(request: web.Request) -> web.Response:
    """Whether a schema may be registered: against the last version, or all, as the level says."""
    subject = subject_of(request)
    return await _compatibility(request, subject, request.app[REGISTRY].store.versions(subject))


async def _compatibility(request: web.Request, subject: str, versions: list[Version]) -> web.Response:
    verbose = flag(request, "verbose")
    try:
        schema = await schema_of(request, subject, await body_of(request), new=True)
        problems = await judging.incompatibilities(request.app[REGISTRY].store, subject, schema, versions)
    except RestError as error:
        if not verbose or error.code != 42201:
            raise
        problems = [str(error)]
    return answer({"is_compatible": not problems, **({"messages": problems} if verbose else {})})

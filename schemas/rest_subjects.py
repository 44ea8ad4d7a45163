"""Routes under /subjects and /compatibility."""

from typing import Any

from aiohttp import web

from headrace.schemas import judging
from headrace.schemas.records import MAX_ID
from headrace.schemas.refusals import RestError
from headrace.schemas.registry import Chosen
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
    version_of,
    versions_of,
)
from headrace.schemas.rest_schemas import prefix_of, text_of
from headrace.schemas.schema import Schema
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
    chosen = Chosen(_chosen(body, "id"), _chosen(body, "version"))
    if chosen.id is None and chosen.version is not None:
        chosen = Chosen()  # a number to come back to where the registry counts: Confluent reads over it too
    version = await request.app[REGISTRY].register(subject, await schema_of(request, subject, body), chosen)
    if request.headers.get("Confluent-Accept-Unknown-Properties", "").lower() == "true":
        return answer({"id": version.value.id, "version": version.version, "guid": version.schema.guid})
    return answer({"id": version.value.id})


def _chosen(body: dict[str, Any], name: str) -> int | None:
    value = body.get(name)
    if value in (None, -1, 0):
        return None
    if type(value) is not int or not 1 <= value <= MAX_ID:
        raise RestError(422, 42201, f"{name} is no number from 1 to 2^31-1")
    return value


@routes.post("/subjects/{subject}")
async def look_up(request: web.Request) -> web.Response:
    """Find a schema under a subject."""
    subject = subject_of(request)
    schema, deleted = await schema_of(request, subject, await body_of(request)), flag(request, "deleted")
    registry = request.app[REGISTRY]
    found = await registry.known(lambda: registry.store.find(subject, schema, deleted=deleted))
    if found is not None:
        return answer(described(found))
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
    version = await version_of(request, deleted=flag(request, "deleted"))
    return answer({**described(version), "schema": await text_of(request, version)})


@routes.get("/subjects/{subject}/versions/{version}/schema")
async def get_version_schema(request: web.Request) -> web.Response:
    """The text of a version alone."""
    version = await version_of(request, deleted=flag(request, "deleted"))
    return web.Response(text=await text_of(request, version), content_type="application/vnd.schemaregistry.v1+json")


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
            return answer({**described(version), "schema": await text_of(request, version)})
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
        raise RestError(404, 40406, f"{what} soft deleted. Set permanent=true to delete permanently")
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
        raise RestError(404, 40404, f"Subject '{subject}' was soft deleted. Set permanent=true to delete permanently")
    await (registry.delete_for_good(versions) if permanent else registry.delete_subject(subject, lives))
    return answer([one.version for one in (versions if permanent else lives)])


@routes.post("/compatibility/subjects/{subject}/versions/{version}")
async def check_against_version(request: web.Request) -> web.Response:
    """Whether a schema is compatible with one version."""
    subject = subject_of(request)
    schema = await schema_of(request, subject, await body_of(request))
    return await _compatibility(request, subject, schema, [await version_of(request, deleted=False)])


@routes.post("/compatibility/subjects/{subject}/versions")
async def check_against_all(request: web.Request) -> web.Response:
    """Whether a schema may be registered: against the last version, or all, as the level says."""
    subject = subject_of(request)
    schema = await schema_of(request, subject, await body_of(request))
    return await _compatibility(request, subject, schema, request.app[REGISTRY].store.versions(subject))


async def _compatibility(request: web.Request, subject: str, schema: Schema, versions: list[Version]) -> web.Response:
    problems = await judging.incompatibilities(request.app[REGISTRY].store, subject, schema, versions)
    verbose = {"messages": problems} if flag(request, "verbose") else {}
    return answer({"is_compatible": not problems, **verbose})

"""The registry's HTTP interface: Confluent Schema Registry's REST API, for Avro.

Served: register, look up, list, compatibility checks and levels, soft deletion, and what clients ask beside. Query parameters
and headers that we do not know are ignored, as newer clients expect. Refused with the reason, never swallowed: other types than
Avro, references, metadata and rule sets, chosen ids, permanent deletion.
Source: Confluent Schema Registry API reference; research/sinks.md §3.
"""

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import prometheus_client
from aiohttp import web

from headrace.schemas.access import AccessControl, admission, challenge
from headrace.schemas.client import CONTENT_TYPE
from headrace.schemas.compatibility import DEFAULT_LEVEL, AvroSchema, InvalidSchemaError, parse
from headrace.schemas.places import ASKING, noted
from headrace.schemas.records import MAX_ID
from headrace.schemas.registry import Registry, RestError
from headrace.schemas.store import Version

logger = logging.getLogger(__name__)
MAX_BODY_BYTES: Final = 900_000  # a record of _schemas must fit what brokers take by default
MAX_SUBJECT_LENGTH: Final = 1000
_ALWAYS_SERVED: Final = ("/healthz", "/metrics")
_requests = prometheus_client.Counter("headrace_registry_requests", "Answers given", ["status"])
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def application(registry: Registry, access: AccessControl | None = None) -> web.Application:
    """The interface of one registry; without `access` everybody may ask for everything."""
    admitting = [] if access is None else [admission(access)]
    app = web.Application(middlewares=[noted, _errors, *admitting, _until_ready], client_max_size=MAX_BODY_BYTES)
    app[_REGISTRY] = registry
    app[ASKING] = set()
    app.router.add_routes(_routes)
    return app


_REGISTRY: Final = web.AppKey("registry", Registry)
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
            response.headers["Allow"] = error.headers["Allow"]
    except ConnectionError:  # nobody hears it
        response = _error(400, 400, "the client went away")
    except Exception:  # the supervisor of handlers: one request fails, the registry goes on
        logger.exception("request failed", extra={"method": request.method, "path": request.path})
        response = _error(500, 500, "Internal Server Error; the registry's log says more")
    _requests.labels(str(response.status)).inc()
    return response


@web.middleware
async def _until_ready(request: web.Request, handler: Handler) -> web.StreamResponse:
    if request.path not in _ALWAYS_SERVED and not request.app[_REGISTRY].ready.is_set():
        raise RestError(503, 50301, "the registry has not yet read its log; is the broker running? Try again")
    return await handler(request)


def _json(body: object, status: int = 200) -> web.Response:
    return web.Response(text=json.dumps(body), status=status, content_type=CONTENT_TYPE)


def _error(status: int, code: int, message: str) -> web.Response:
    return _json({"error_code": code, "message": message}, status)


def _flag(request: web.Request, name: str) -> bool:
    return request.query.get(name, "").lower() == "true"


def _subject(request: web.Request) -> str:
    subject = request.match_info["subject"]
    if not subject or len(subject) > MAX_SUBJECT_LENGTH or not subject.isprintable():
        raise RestError(422, 42208, f"Invalid subject; a subject has 1 to {MAX_SUBJECT_LENGTH} printable characters")
    return subject


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.read())
    except (ValueError, RecursionError) as error:
        raise RestError(400, 400, f"the body is not JSON: {error}") from error
    except web.RequestPayloadError as error:
        raise RestError(400, 400, "the body is not in its Content-Encoding") from error
    if not isinstance(body, dict):
        raise RestError(400, 400, "the body is no JSON object")
    return body


def _schema_of(body: Mapping[str, Any]) -> AvroSchema:
    text, kind = body.get("schema"), body.get("schemaType") or "AVRO"
    if kind != "AVRO":
        raise RestError(422, 42201, f"schemaType {kind} is not supported; register an Avro schema")
    if not isinstance(text, str) or not text.strip():
        raise RestError(422, 42201, 'Empty schema; send {"schema": "…"} with the schema as a string')
    if body.get("references"):
        raise RestError(422, 42201, "references are not supported; write the named types into the schema itself")
    for member in ("metadata", "ruleSet"):
        if body.get(member):
            raise RestError(422, 42201, f"{member} is not supported, and would be lost; leave it out")
    try:
        return parse(text)
    except InvalidSchemaError as error:
        raise RestError(422, 42201, f"Invalid schema: {error}") from error


def _described(version: Version) -> dict[str, Any]:
    value = version.value
    described: dict[str, Any] = {"subject": version.subject, "version": version.version, "id": value.id}
    return described | _schema_members(version)


def _schema_members(version: Version) -> dict[str, Any]:
    value = version.value
    members: dict[str, Any] = {"schema": value.schema}
    if value.schema_type != "AVRO":
        members["schemaType"] = value.schema_type
    if value.references:
        members["references"] = value.references
    return members


@_routes.get("/")
async def _root(_: web.Request) -> web.Response:
    return _json({})


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


@_routes.get("/subjects")
async def _list_subjects(request: web.Request) -> web.Response:
    prefix = request.query.get("subjectPrefix", "")
    found = request.app[_REGISTRY].store.subjects(deleted=_flag(request, "deleted"))
    return _json([subject for subject in found if subject.startswith(prefix)])


@_routes.post("/subjects/{subject}/versions")
async def _register(request: web.Request) -> web.Response:
    subject, body = _subject(request), await _body(request)
    for member in ("id", "version"):
        if body.get(member) not in (None, -1, 0):
            raise RestError(422, 42205, f"Subject {subject} is not in import mode: the registry chooses the {member}")
    version = await request.app[_REGISTRY].register(subject, _schema_of(body))
    return _json({"id": version.value.id})


@_routes.post("/subjects/{subject}")
async def _look_up(request: web.Request) -> web.Response:
    subject, schema = _subject(request), _schema_of(await _body(request))
    registry, deleted = request.app[_REGISTRY], _flag(request, "deleted")
    found = await registry.known(lambda: registry.store.find(subject, schema.identity, deleted=deleted))
    if found is not None:
        return _json(_described(found))
    if not registry.store.versions(subject, deleted=deleted):
        raise _no_subject(subject)
    raise RestError(404, 40403, "Schema not found")


def _no_subject(subject: str) -> RestError:
    return RestError(404, 40401, f"Subject '{subject}' not found.")


@_routes.get("/subjects/{subject}/versions")
async def _list_versions(request: web.Request) -> web.Response:
    return _json([one.version for one in await _versions(request)])


async def _versions(request: web.Request) -> list[Version]:
    subject, registry = _subject(request), request.app[_REGISTRY]
    deleted = _flag(request, "deleted")
    found = await registry.known(lambda: registry.store.versions(subject, deleted=deleted) or None)
    if found is None:
        raise _no_subject(subject)
    return found


async def _version(request: web.Request) -> Version:
    """The version that the path names; `latest` and -1 are the newest."""
    subject, registry, wanted = _subject(request), request.app[_REGISTRY], request.match_info["version"]
    found = await _versions(request)
    if wanted in ("latest", "-1"):
        return found[-1]
    if not wanted.isdecimal() or len(wanted) > len(str(MAX_ID)) or not 1 <= int(wanted) <= MAX_ID:
        allowed = 'Allowed values are between [1, 2^31-1] and the string "latest"'
        raise RestError(422, 42202, f"The specified version '{wanted}' is not a valid version id. {allowed}")
    deleted = _flag(request, "deleted")
    version = await registry.known(lambda: registry.store.version(subject, int(wanted), deleted=deleted))
    if version is None:
        raise RestError(404, 40402, f"Version {wanted} not found.")
    return version


@_routes.get("/subjects/{subject}/versions/{version}")
async def _get_version(request: web.Request) -> web.Response:
    return _json(_described(await _version(request)))


@_routes.get("/subjects/{subject}/versions/{version}/schema")
async def _get_version_schema(request: web.Request) -> web.Response:
    version = await _version(request)
    return web.Response(text=version.value.schema, content_type=CONTENT_TYPE)


@_routes.get("/subjects/{subject}/versions/{version}/referencedby")
async def _get_referenced_by(request: web.Request) -> web.Response:
    version, store = await _version(request), request.app[_REGISTRY].store
    wanted = {"subject": version.subject, "version": version.version}
    others = [one for subject in store.subjects() for one in store.versions(subject)]
    return _json(
        sorted({one.value.id for one in others for reference in one.value.references if wanted.items() <= reference.items()})
    )


def _no_permanent_deletion(request: web.Request) -> None:
    if _flag(request, "permanent"):
        raise RestError(
            422, 42205, "permanent deletion is not supported: landed data refers to schemas by id; delete without it"
        )


@_routes.delete("/subjects/{subject}/versions/{version}")
async def _delete_version(request: web.Request) -> web.Response:
    _no_permanent_deletion(request)
    version = await _version(request)
    await request.app[_REGISTRY].delete_version(version)
    return _json(version.version)


@_routes.delete("/subjects/{subject}")
async def _delete_subject(request: web.Request) -> web.Response:
    _no_permanent_deletion(request)
    versions = await _versions(request)
    await request.app[_REGISTRY].delete_subject(_subject(request), versions[-1].version)
    return _json([one.version for one in versions])


async def _with_id(request: web.Request) -> list[Version]:
    wanted, registry = request.match_info["id"], request.app[_REGISTRY]
    found = None
    if wanted.isdecimal() and len(wanted) <= 10:
        found = await registry.known(lambda: registry.store.with_id(int(wanted)) or None)
    if found is None:
        raise RestError(404, 40403, f"Schema {wanted} not found")
    return found


def _live(request: web.Request, versions: list[Version]) -> list[Version]:
    return [one for one in versions if _flag(request, "deleted") or not one.value.deleted]


@_routes.get("/schemas/ids/{id}")
async def _get_by_id(request: web.Request) -> web.Response:
    members = _schema_members((await _with_id(request))[0])
    if _flag(request, "fetchMaxId"):
        members["maxId"] = request.app[_REGISTRY].store.max_id
    return _json(members)


@_routes.get("/schemas/ids/{id}/schema")
async def _get_text_by_id(request: web.Request) -> web.Response:
    return web.Response(text=(await _with_id(request))[0].value.schema, content_type=CONTENT_TYPE)


@_routes.get("/schemas/ids/{id}/subjects")
async def _get_subjects_of_id(request: web.Request) -> web.Response:
    return _json(sorted({one.subject for one in _live(request, await _with_id(request))}))


@_routes.get("/schemas/ids/{id}/versions")
async def _get_versions_of_id(request: web.Request) -> web.Response:
    return _json([{"subject": one.subject, "version": one.version} for one in _live(request, await _with_id(request))])


@_routes.get("/schemas/types")
async def _list_types(_: web.Request) -> web.Response:
    return _json(["AVRO"])


@_routes.get("/schemas")
async def _list_schemas(request: web.Request) -> web.Response:
    store, deleted, prefix = request.app[_REGISTRY].store, _flag(request, "deleted"), request.query.get("subjectPrefix", "")
    first = -1 if _flag(request, "latestOnly") else 0
    subjects = [subject for subject in store.subjects(deleted=deleted) if subject.startswith(prefix)]
    return _json([_described(one) for subject in subjects for one in store.versions(subject, deleted=deleted)[first:]])


@_routes.post("/compatibility/subjects/{subject}/versions/{version}")
async def _check_against_version(request: web.Request) -> web.Response:
    schema = _schema_of(await _body(request))
    return _compatibility(request, schema, [await _version(request)])


@_routes.post("/compatibility/subjects/{subject}/versions")
async def _check_against_all(request: web.Request) -> web.Response:
    schema = _schema_of(await _body(request))
    return _compatibility(request, schema, request.app[_REGISTRY].store.versions(_subject(request)))


def _compatibility(request: web.Request, schema: AvroSchema, versions: list[Version]) -> web.Response:
    registry = request.app[_REGISTRY]
    problems = registry.problems(registry.store.effective_level(_subject(request)), schema, versions)
    verbose = {"messages": problems} if _flag(request, "verbose") else {}
    return _json({"is_compatible": not problems, **verbose})


@_routes.get("/config")
async def _get_level(request: web.Request) -> web.Response:
    return _json({"compatibilityLevel": request.app[_REGISTRY].store.level(None) or DEFAULT_LEVEL})


@_routes.get("/config/{subject}")
async def _get_subject_level(request: web.Request) -> web.Response:
    subject, store = _subject(request), request.app[_REGISTRY].store
    level = store.level(subject)
    if level is None and _flag(request, "defaultToGlobal"):
        level = store.effective_level(subject)
    if level is None:
        raise RestError(404, 40408, f"Subject '{subject}' does not have subject-level compatibility configured")
    return _json({"compatibilityLevel": level})


@_routes.put("/config")
@_routes.put("/config/{subject}")
async def _set_level(request: web.Request) -> web.Response:
    subject = _subject(request) if "subject" in request.match_info else None
    level = str((await _body(request)).get("compatibility") or "").upper()
    await request.app[_REGISTRY].set_level(subject, level)
    return _json({"compatibility": level})


@_routes.delete("/config")
@_routes.delete("/config/{subject}")
async def _unset_level(request: web.Request) -> web.Response:
    subject = _subject(request) if "subject" in request.match_info else None
    registry = request.app[_REGISTRY]
    level = registry.store.level(subject)
    if level is None and subject is not None:
        raise RestError(404, 40408, f"Subject '{subject}' does not have subject-level compatibility configured")
    if level is not None:
        await registry.unset_level(subject)
    return _json({"compatibilityLevel": level or DEFAULT_LEVEL})


@_routes.get("/mode")
@_routes.get("/mode/{subject}")
async def _get_mode(_: web.Request) -> web.Response:
    return _json({"mode": "READWRITE"})

"""Routes under /schemas and /contexts."""

from typing import Any, Final

from aiohttp import web

from headrace.schemas import judging
from headrace.schemas.contract import rule_types
from headrace.schemas.framing import MAX_ID
from headrace.schemas.invalid import InvalidSchemaError
from headrace.schemas.kinds import KINDS
from headrace.schemas.refusals import RestError
from headrace.schemas.requests import (
    REGISTRY,
    answer,
    context_of,
    described,
    flag,
    live,
    members_of,
    named_subject,
    page,
    told,
    unaliased,
)
from headrace.schemas.store import Version
from headrace.schemas.subjects import DEFAULT_CONTEXT, EVERY_CONTEXT, IN_CONTEXT, joined, listed, split, within

routes = web.RouteTableDef()
_FORMATS: Final = ("resolved", "serialized")


def prefix_of(request: web.Request) -> str:
    """How the names of listed subjects begin; by default those of all contexts are listed."""
    prefix = request.query.get("subjectPrefix", "" if "context" in request.match_info else EVERY_CONTEXT)
    return joined(context_of(request), prefix) if "context" in request.match_info and not prefix.startswith(":") else prefix


async def text_of(request: web.Request, version: Version) -> str:
    """The text of a version in the `format` that a request asks for; a format that its type has not is the default one."""
    if request.query.get("format") not in _FORMATS:
        return version.schema.text
    try:
        parsed = await judging.parsed(request.app[REGISTRY].store, version.subject, version.schema)
    except InvalidSchemaError as error:
        raise RestError(422, 42201, f"Invalid schema: {error}") from error
    formatted = getattr(parsed, request.query["format"], None)
    return version.schema.text if formatted is None else str(formatted)


async def _with_id(request: web.Request, *, named: bool = True) -> list[Version]:
    """Versions with the id in the path; if there is none the answer says which, where Confluent's does (`named`)."""
    wanted, registry = request.match_info["id"], request.app[REGISTRY]
    context, name = context_of(request), ""
    if subject := request.query.get("subject"):
        context, name = split(unaliased(request, named_subject(request, subject, may_be_context=True)))
    if not (wanted.isdecimal() and wanted.isascii() and len(wanted) <= 10 and int(wanted) <= MAX_ID):
        raise RestError(404, 404, "HTTP 404 Not Found")  # there is no such path
    found = await registry.known(lambda: registry.store.with_id(int(wanted), context) or None) or []
    mine = [one for one in found if split(one.subject)[1] == name]
    if name and not mine and context == DEFAULT_CONTEXT:  # a name without a context may be in any
        others = (registry.store.with_id(int(wanted), one) for one in registry.store.contexts())
        mine = [one for versions in others for one in versions if split(one.subject)[1] == name]
    if not (mine or found):
        raise RestError(404, 40403, f"Schema {wanted} not found" if named else "Schema not found")
    return mine or found


async def _members(request: web.Request, version: Version) -> dict[str, Any]:
    members = members_of(request, version) | {"schema": await text_of(request, version), "guid": version.schema.guid}
    if flag(request, "fetchMaxId"):
        members["maxId"] = request.app[REGISTRY].store.max_id(split(version.subject)[0])
    if flag(request, "includeSubjects"):
        found = request.app[REGISTRY].store.with_id(version.value.id, split(version.subject)[0])
        members["subjects"] = sorted({one.subject for one in live(request, found)})
    return members


@routes.get("/schemas/ids/{id}")
async def get_by_id(request: web.Request) -> web.Response:
    """A schema by its id: what consumers ask for."""
    return answer(await _members(request, (await _with_id(request))[0]))


@routes.get("/schemas/ids/{id}/schema")
async def get_text_by_id(request: web.Request) -> web.Response:
    """The text alone."""
    return told(await text_of(request, (await _with_id(request))[0]))


@routes.get("/schemas/ids/{id}/subjects")
async def get_subjects_of_id(request: web.Request) -> web.Response:
    """Where it is registered."""
    return answer(page(request, sorted({one.subject for one in live(request, await _with_id(request, named=False))})))


@routes.get("/schemas/ids/{id}/versions")
async def get_versions_of_id(request: web.Request) -> web.Response:
    """Where, and as which versions."""
    found = [{"subject": one.subject, "version": one.version} for one in live(request, await _with_id(request, named=False))]
    return answer(page(request, found))


async def _with_guid(request: web.Request) -> list[Version]:
    registry, guid = request.app[REGISTRY], request.match_info["guid"].lower()
    found = await registry.known(lambda: registry.store.with_guid(guid) or None)
    if found is None:
        raise RestError(404, 40403, f"Schema {guid[:100]} not found")
    return found


@routes.get("/schemas/guids/{guid}")
async def get_by_guid(request: web.Request) -> web.Response:
    """A schema by its GUID, the same in every registry."""
    return answer(await _members(request, (await _with_guid(request))[0]))


@routes.get("/schemas/guids/{guid}/ids")
async def get_ids_of_guid(request: web.Request) -> web.Response:
    """The id that it has in each context."""
    found = {(split(one.subject)[0], one.value.id) for one in await _with_guid(request)}
    return answer([{"context": context, "id": schema_id} for context, schema_id in sorted(found)])


@routes.get("/schemas/types")
async def list_types(_: web.Request) -> web.Response:
    """The types that may be registered."""
    return answer(list(KINDS))


@routes.get("/schemas")
async def list_schemas(request: web.Request) -> web.Response:
    """All versions, or the latest of each subject; with `aliases=true` those of aliased subjects too, and their other names."""
    store, deleted, prefix = request.app[REGISTRY].store, flag(request, "deleted"), prefix_of(request)
    first = -1 if flag(request, "latestOnly") else 0
    subjects = store.subjects(deleted=deleted, prefix=prefix)
    names: dict[str, list[str]] = {}
    if flag(request, "aliases"):
        for name, alias in store.settings.aliases().items():
            if listed(name, prefix):
                names.setdefault(within(alias, split(name)[0]), []).append(name)
        subjects = sorted({*subjects, *(subject for subject in names if store.versions(subject, deleted=deleted))})
    found = [one for subject in subjects for one in store.versions(subject, deleted=deleted)[first:]]
    if rule_type := request.query.get("ruleType"):
        found = [one for one in found if rule_type in rule_types(one.schema.rule_set)]
    return answer([
        {**described(request, one), **({"aliases": names[one.subject]} if one.subject in names else {})}
        for one in page(request, found)
    ])  # fmt: skip


@routes.get("/contexts")
async def list_contexts(request: web.Request) -> web.Response:
    """The contexts that there are, or those that begin with `contextPrefix`."""
    prefix = request.query.get("contextPrefix", "")
    return answer(page(request, [one for one in request.app[REGISTRY].store.contexts() if one.startswith(prefix)]))


@routes.delete(IN_CONTEXT)
async def delete_context(request: web.Request) -> web.Response:
    """Delete a context in which there is no subject any more, not even a softly deleted one; there may be none of that name."""
    registry, context = request.app[REGISTRY], split(named_subject(request, "", may_be_context=True))[0]
    if context == DEFAULT_CONTEXT:
        raise RestError(422, 42205, "The default context cannot be deleted.")
    if await registry.known(lambda: context in registry.store.contexts() or None):
        await registry.delete_context(context)
    return web.Response(status=204)

"""What a request to the registry says: subjects, versions, flags, bodies; and answers in Confluent's form."""

import json
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from headrace.schemas import judging
from headrace.schemas.client import CONTENT_TYPE
from headrace.schemas.contract import InvalidRulesError, metadata_of, rules_of
from headrace.schemas.framing import MAX_ID
from headrace.schemas.invalid import InvalidSchemaError
from headrace.schemas.off_loop import off_loop
from headrace.schemas.records import parse_references
from headrace.schemas.references import Reference
from headrace.schemas.refusals import RestError
from headrace.schemas.registry import Registry
from headrace.schemas.schema import Draft, Schema
from headrace.schemas.store import Version
from headrace.schemas.subjects import DEFAULT_CONTEXT, GLOBAL_CONTEXT, InvalidNameError, normalized, split, within

REGISTRY: Final = web.AppKey("registry", Registry)


def answer(body: object, status: int = 200) -> web.Response:
    """A JSON answer."""
    return told(json.dumps(body, separators=(",", ":")), status)


def told(text: str, status: int = 200) -> web.Response:
    """An answer whose JSON is written already."""
    return web.Response(body=text.encode("utf-8", "surrogatepass"), status=status, content_type=CONTENT_TYPE)


def flag(request: web.Request, name: str) -> bool:
    """A query parameter that is true or absent."""
    return request.query.get(name, "").lower() == "true"


def number(request: web.Request, name: str, absent: int) -> int:
    """A query parameter that is a whole number; what is none counts as absent."""
    text = request.query.get(name, "")
    return int(text) if text.isdecimal() and text.isascii() and len(text) <= len(str(MAX_ID)) else absent


def page(request: web.Request, found: list[Any]) -> list[Any]:
    """The part of a list that `offset` and `limit` ask for."""
    offset, limit = number(request, "offset", 0), number(request, "limit", 0)
    return found[offset : offset + limit] if limit else found[offset:]


def context_of(request: web.Request) -> str:
    """The context that the path begins with (`/contexts/.name/…`), else the default one."""
    context = request.match_info.get("context", DEFAULT_CONTEXT)
    return context.removeprefix(":").removesuffix(":") or DEFAULT_CONTEXT


def subject_of(request: web.Request) -> str:
    """The subject in the path, as it is stored, or the one that it is an alias of."""
    return unaliased(request, named_subject(request, request.match_info["subject"]))


def unaliased(request: web.Request, subject: str) -> str:
    """A subject, or the one that its configuration says it is an alias of (whose own alias does not count)."""
    alias = request.app[REGISTRY].store.settings.aliased(subject)
    return subject if alias is None else named_subject(request, within(alias, split(subject)[0]))


def named_subject(request: web.Request, subject: str, *, may_be_context: bool = False) -> str:
    """A subject that a request names, as it is stored."""
    try:
        found = normalized(subject, context_of(request), may_be_context=may_be_context)
        if not may_be_context and GLOBAL_CONTEXT in (split(found)[0], f".{split(found)[1]}"):
            raise InvalidNameError(f"{GLOBAL_CONTEXT} has no subjects")
        return found
    except InvalidNameError as error:
        raise RestError(422, 42208, f"The specified subject '{subject[:100]}' is not a valid. {error}") from error


def scope_of(request: web.Request) -> str | None:
    """Whose configuration or mode is meant: a subject's, a context's, or of all (None)."""
    if "subject" in request.match_info:
        return named_subject(request, request.match_info["subject"], may_be_context=True)
    return named_subject(request, "", may_be_context=True) if "context" in request.match_info else None


async def body_of(request: web.Request) -> dict[str, Any]:
    """The JSON object that came with a request."""
    try:
        body = json.loads(await request.read())
    except (ValueError, RecursionError) as error:
        raise RestError(400, 400, f"the body is not JSON: {error}") from error
    except web.RequestPayloadError as error:
        raise RestError(400, 400, "the body is not in its Content-Encoding") from error
    if not isinstance(body, dict):
        raise RestError(400, 400, "the body is no JSON object")
    return body


async def schema_of(request: web.Request, subject: str, body: Mapping[str, Any], *, new: bool = False) -> Schema:
    """The schema in a body, which its type accepts, as it would be stored under a subject.

    A `new` one refers to what is live alone, and has no field named as the registry's own where fields are validated.
    """
    text, kind = body.get("schema"), body.get("schemaType") or "AVRO"
    if not isinstance(text, str | None):
        raise RestError(400, 400, "schema is no string")
    if text is None or not text.strip():
        raise RestError(422, 42201, "Empty schema")
    store = request.app[REGISTRY].store
    normalize = flag(request, "normalize") or ("normalize" not in request.query and _normalizes(request, subject))
    try:
        given = Draft(
            str(kind),
            text,
            _references(request, subject, body),
            metadata_of(body.get("metadata")),
            rules_of(body.get("ruleSet")),
        )
        parsed = await judging.parsed(store, subject, given, live=new)
        if new and store.settings.config_in_force(subject).get("validateFields") is True:
            _may_be_named(parsed.fields())
        return await off_loop(len(text), given.stored, parsed, normalize=normalize)
    except InvalidRulesError as error:
        raise RestError(422, 42210, f"Invalid rule set: {error}") from error
    except InvalidSchemaError as error:
        raise RestError(422, 42201, f"Invalid schema: {error}") from error


def _may_be_named(fields: set[str]) -> None:
    own = sorted(name for name in fields if name.startswith("$$"))
    if own:
        raise InvalidSchemaError(f"field names that begin with `$$` are reserved: {', '.join(own)[:200]}")


def _normalizes(request: web.Request, subject: str) -> bool:
    return request.app[REGISTRY].store.settings.config_in_force(subject).get("normalize") is True


def _references(request: web.Request, subject: str, body: Mapping[str, Any]) -> tuple[Reference, ...]:
    references = parse_references(body.get("references"))
    if references is None:
        raise RestError(400, 400, 'references are a list of {"name": "…", "subject": "…", "version": 1}')
    store, context = request.app[REGISTRY].store, split(subject)[0]
    found = []
    for one in references:
        versions = store.versions(within(one.subject, context)) if one.version == -1 else []
        found.append(Reference(one.name, one.subject, versions[-1].version if versions else one.version))
    return tuple(found)


def no_subject(subject: str) -> RestError:
    """The answer that a subject is not there."""
    return RestError(404, 40401, f"Subject '{subject}' not found.")


async def versions_of(request: web.Request, subject: str, *, deleted: bool) -> list[Version]:
    """The versions of a subject; there is one at least."""
    registry = request.app[REGISTRY]
    found = await registry.known(lambda: registry.store.versions(subject, deleted=deleted) or None)
    if found is None:
        raise no_subject(subject)
    return found


async def version_of(request: web.Request, *, deleted: bool, anywhere: bool = False) -> Version:
    """The version that the path names; `latest` and -1 are the newest.

    Where it may be `anywhere`, a subject without a context that has no such version is looked for in all others.
    """
    subject, registry, wanted = subject_of(request), request.app[REGISTRY], request.match_info["version"]
    newest = wanted in ("latest", "-1")
    if not newest and (
        not wanted.isdecimal() or not wanted.isascii() or len(wanted) > len(str(MAX_ID)) or not 1 <= int(wanted) <= MAX_ID
    ):
        allowed = 'Allowed values are between [1, 2^31-1] and the string "latest"'
        raise RestError(422, 42202, f"The specified version '{wanted[:100]}' is not a valid version id. {allowed}")
    try:
        found = await versions_of(request, subject, deleted=deleted and not newest)
        version = found[-1] if newest else None
        version = version or await registry.known(lambda: registry.store.version(subject, int(wanted), deleted=deleted))
    except RestError:
        elsewhere = registry.store.elsewhere(subject, None if newest else int(wanted), deleted=deleted) if anywhere else []
        if not elsewhere:
            raise
        return elsewhere[0]
    if version is None:
        raise RestError(404, 40402, f"Version {wanted} not found.")
    return version


def live(request: web.Request, versions: list[Version]) -> list[Version]:
    """Of some versions those that a request wants: the live ones, or with `deleted=true` all."""
    return [one for one in versions if flag(request, "deleted") or not one.value.deleted]


def described(request: web.Request, version: Version) -> dict[str, Any]:
    """A version, in full."""
    place: dict[str, Any] = {"subject": version.subject, "version": version.version, "id": version.value.id}
    said = {**place, "guid": version.schema.guid, **members_of(request, version)}
    return {**said, "deleted": True} if version.value.deleted else said


def members_of(request: web.Request, version: Version) -> dict[str, Any]:
    """Members of a schema; subjects that it refers to in full where `referenceFormat=qualified` asks for that."""
    members = version.schema.members()
    if request.query.get("referenceFormat", "").lower() == "qualified":
        context = split(version.subject)[0]
        for one in members.get("references", ()):
            one["subject"] = within(one["subject"], context)
    return members

"""A small client of any Confluent-compatible registry, on the standard library alone: the agent runs without extras.

Time and size are bounded: an answer is read within `timeout_s` and up to `MAX_ANSWER_BYTES`. Nothing is cached and nothing is
retried here; whoever calls knows how long a registry may be away (design D6: a dead registry stops nobody).
"""

import base64
import http.client
import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar, cast
from urllib.parse import quote, urlsplit
from uuid import UUID

from headrace.errors import PeerError, RefusedError, UsageError
from headrace.schemas.references import Reference

CONTENT_TYPE: Final = "application/vnd.schemaregistry.v1+json"
MAX_ANSWER_BYTES: Final = 16 * 1024 * 1024
SUBJECT_NOT_FOUND: Final = 40401
VERSION_NOT_FOUND: Final = 40402
SCHEMA_NOT_FOUND: Final = 40403
_PIECE_BYTES: Final = 64 * 1024
T = TypeVar("T", int, str)


def _opener(ca_file: Path | None) -> urllib.request.OpenerDirector:
    """A registry is named by its URL and nothing else: an http_proxy of the environment would catch loopback addresses too."""
    if ca_file is None:
        return urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise UsageError(f"ssl.ca.location {ca_file}: {error.strerror or error}; name a PEM file of authorities") from error
    return urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))


@dataclass(frozen=True, slots=True)
class Registered:
    """A schema as a registry has it; `type` is AVRO, JSON or PROTOBUF, `id` is 0 where the registry does not say."""

    id: int
    type: str
    text: str
    references: tuple[Reference, ...]


class _Readable(Protocol):
    def read1(self, amount: int, /) -> bytes: ...


class RegistryClient:
    """One registry, by its base URL; safe to use from several threads.

    Raises (all methods):
        RefusedError: the registry understood and said no; `status` and `code` are its HTTP status and its own code.
        PeerError: it cannot be reached, is slow, or answers what is not its protocol. Trying again may help.
    """

    def __init__(self, url: str, *, timeout_s: float = 10.0, user_info: str | None = None, ca_file: Path | None = None) -> None:
        """`user_info` is `name:password`, sent with every request; `ca_file` holds the authorities that https is checked by.

        Raises:
            UsageError: the URL or the file cannot be used.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"registry {url}: not a URL of the form http://host:port")
        self.url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._authorization = None if user_info is None else f"Basic {base64.b64encode(user_info.encode()).decode()}"
        self._opener = _opener(ca_file)

    def register(self, subject: str, schema_json: str) -> int:
        """Register an Avro schema under a subject, or find it there, and return its id."""
        answer = self._call("POST", f"/subjects/{quote(subject, safe='')}/versions", {"schema": schema_json})
        return self._member(answer, "id", int)

    def schema_by_id(self, schema_id: int) -> Registered:
        """A registered schema."""
        return self._registered(self._call("GET", f"/schemas/ids/{schema_id}"), schema_id)

    def schema_by_guid(self, guid: UUID) -> Registered:
        """A registered schema, by what names it in every registry."""
        return self._registered(self._call("GET", f"/schemas/guids/{guid}"), 0)

    def version(self, subject: str, version: int) -> Registered:
        """One version of a subject, also if it was deleted since."""
        return self._registered(self._call("GET", f"/subjects/{quote(subject, safe='')}/versions/{version}?deleted=true"), 0)

    def _registered(self, answer: Any, schema_id: int) -> Registered:
        text = self._member(answer, "schema", str)
        references, kind, own_id = answer.get("references") or [], answer.get("schemaType") or "AVRO", answer.get("id")
        if not isinstance(references, list) or not isinstance(kind, str):
            raise self._nonsense("answer", "references or schemaType of a wrong type")
        return Registered(
            own_id if not schema_id and isinstance(own_id, int) else schema_id,
            kind,
            text,
            tuple(
                Reference(self._member(one, "name", str), self._member(one, "subject", str), self._member(one, "version", int))
                for one in references
            ),
        )

    def latest(self, subject: str) -> Registered | None:
        """A subject's latest version; None where the subject has none."""
        try:
            return self._registered(self._call("GET", f"/subjects/{quote(subject, safe='')}/versions/latest"), 0)
        except RefusedError as error:
            if error.code in (SUBJECT_NOT_FOUND, VERSION_NOT_FOUND):
                return None
            raise

    def subjects(self) -> list[str]:
        """All subjects that have a version."""
        answer = self._call("GET", "/subjects")
        if not isinstance(answer, list) or not all(isinstance(name, str) for name in answer):
            raise self._nonsense("GET /subjects", "no list of names")
        return answer

    def subjects_of(self, schema_id: int) -> list[str]:
        """The subjects that a schema has been registered under, also if that was deleted since; none of an unknown id."""
        try:
            answer = self._call("GET", f"/schemas/ids/{schema_id}/versions?deleted=true")
        except RefusedError as error:
            if error.status == http.HTTPStatus.NOT_FOUND:
                return []
            raise
        if not isinstance(answer, list):
            raise self._nonsense(f"GET /schemas/ids/{schema_id}/versions", "no list")
        return [self._member(one, "subject", str) for one in answer]

    def _call(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Any:
        what = f"{method} {path}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Accept": CONTENT_TYPE}, method=method)  # noqa: S310 - http(s) only, checked
        if data is not None:
            request.add_header("Content-Type", CONTENT_TYPE)
        if self._authorization is not None:
            request.add_unredirected_header("Authorization", self._authorization)  # for nobody but this registry
        deadline = time.monotonic() + self._timeout_s
        try:
            with self._opener.open(request, timeout=self._timeout_s) as response:
                return self._parse(what, self._read(what, response, deadline))
        except urllib.error.HTTPError as error:
            with error:
                raise self._refusal(what, error, deadline) from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise PeerError(f"registry {self.url}: {what}: {reason}; is it running, and is the URL right?") from error

    def _read(self, what: str, response: _Readable, deadline: float) -> bytes:
        pieces, size = [], 0
        while piece := response.read1(_PIECE_BYTES):
            pieces.append(piece)
            size += len(piece)
            if size > MAX_ANSWER_BYTES:
                raise self._nonsense(what, f"more than {MAX_ANSWER_BYTES} bytes")
            if time.monotonic() > deadline:
                raise PeerError(f"registry {self.url}: {what}: no whole answer within {self._timeout_s:g} s; it is overloaded")
        return b"".join(pieces)

    def _parse(self, what: str, data: bytes) -> Any:
        try:
            return json.loads(data)
        except ValueError as error:
            raise self._nonsense(what, "not JSON") from error

    def _refusal(self, what: str, error: urllib.error.HTTPError, deadline: float) -> PeerError:
        try:
            body = json.loads(self._read(what, cast(_Readable, error.fp), deadline)) if error.fp else {}
            code, message = int(body["error_code"]), str(body["message"])
        except (ValueError, KeyError, TypeError, OSError, http.client.HTTPException):
            code, message = error.code, str(error.reason)
        text = f"registry {self.url}: {what}: {error.code}: {message} (code {code})"
        if error.code >= 500 or error.code == 429:
            return PeerError(f"{text}; try again later")
        return RefusedError(text, status=error.code, code=code)

    def _member(self, answer: Any, name: str, kind: type[T]) -> T:
        value = answer.get(name) if isinstance(answer, dict) else None
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self._nonsense("answer", f"no {name}")
        return value

    def _nonsense(self, what: str, why: str) -> PeerError:
        return PeerError(f"registry {self.url}: {what}: the answer is none of a schema registry ({why}); is the URL right?")

"""Fixtures of what comes to a pushed input, as it comes: syslog messages, a posted body, entries of a journal."""

from collections.abc import Sequence
from typing import Final

from pydantic import Field

from headrace.agents.configuration import InputSection
from headrace.agents.sources import journal_entries, otlp
from headrace.agents.sources.http_pushed import content_types, lines_of
from headrace.agents.sources.http_refusals import RequestError
from headrace.agents.sources.intake import Pushed
from headrace.agents.sources.journal_export import ExportError, ExportReader
from headrace.agents.sources.syslog import Pieces
from headrace.agents.sources.syslog_framing import Framer
from headrace.config import Section
from headrace.errors import ConfigError

_PEER: Final = "192.0.2.7"  # RFC 5737: of documentation


class Body(Section):
    """What is posted to an http input."""

    text: str = Field(description="the body")
    path: str | None = Field(None, description="where it is posted: the input's path by default, or /v1/logs for OTLP as JSON")
    content_type: str = Field("application/json", description="application/json, application/x-ndjson or text/plain")


def of_messages(messages: Sequence[str], section: InputSection, received_ms: int, name: str) -> list[Pushed]:
    """Syslog messages as they come on a stream.

    Raises:
        ConfigError: the input is no syslog.
    """
    if section.syslog is None:
        raise ConfigError(f"test {name!r}: messages are for inputs with syslog; use `pushed`")
    framer, pieces = Framer(section.syslog.max_message_bytes), Pieces(f"syslog+tcp://{_PEER}")
    framed = framer.feed("".join(f"{message}\n" for message in messages).encode())
    return pieces.lines([*framed, *framer.close()], received_ms)


def of_body(body: Body, section: InputSection, received_ms: int, name: str) -> list[Pushed]:
    """The lines of a posted body, or of an ExportLogsServiceRequest.

    Raises:
        ConfigError: the input is no http, or would answer that it does not take the body, or a record of it, in.
    """
    if section.http is None:
        raise ConfigError(f"test {name!r}: a body is for inputs with http; use `pushed`")
    path, kind, taken = body.path or section.http.path, body.content_type, otlp.Taken()
    if path not in (section.http.path, otlp.PATH):
        raise ConfigError(f"test {name!r}: lines are posted to {section.http.path}, OTLP logs to {otlp.PATH}")
    if kind not in content_types(path):
        raise ConfigError(f"test {name!r}: content_type is one of {', '.join(content_types(path))}")
    try:
        lines = list(lines_of(body.text.encode(), path, kind, received_ms, f"http://{_PEER}", taken))
    except RequestError as error:
        raise ConfigError(f"test {name!r}: the body would be refused, {error.status}: {error}") from error
    if taken.rejected:
        raise ConfigError(f"test {name!r}: {taken.rejected} records would be rejected; {taken.why}")
    return lines


def of_journal(entries: str, section: InputSection, received_ms: int, name: str) -> list[Pushed]:
    """Entries as `journalctl -o export` prints them.

    Raises:
        ConfigError: the input is no journald, or they are not in that format.
    """
    if section.journald is None:
        raise ConfigError(f"test {name!r}: a journal is for inputs with journald; use `pushed`")
    try:
        found = list(ExportReader().feed(f"{entries}\n\n".encode()))
    except ExportError as error:
        raise ConfigError(f"test {name!r}: not as `journalctl -o export` prints it: {error}") from error
    return [journal_entries.pushed(entry, received_ms, section.journald.source) for entry in found]

"""What is posted: a body, by its path and content type, as the lines that are taken in. Pure."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from headrace.agents.sources import otlp
from headrace.agents.sources.http_lines import json_lines, ndjson_lines, text_lines
from headrace.agents.sources.http_refusals import RequestError
from headrace.agents.sources.intake import Pushed
from headrace.agents.sources.otlp_protobuf import MalformedError
from headrace.agents.sources.otlp_records import json_records, protobuf_records
from headrace.agents.sources.scratch import Data

MOST_LINES: Final = 50_000  # of a request: what a line costs beside its bytes is bounded too
_LINES: Final[Mapping[str, Callable[[Data], Iterator[bytes]]]] = {
    "application/json": json_lines,
    "application/x-ndjson": ndjson_lines,
    "application/ndjson": ndjson_lines,
    "application/jsonl": ndjson_lines,
    "application/x-jsonlines": ndjson_lines,
    "text/plain": text_lines,
}
_OTLP: Final = {otlp.PROTOBUF: protobuf_records, otlp.JSON: json_records}


def content_types(path: str) -> Iterable[str]:
    """Those that may be posted to a path: OTLP's, or those of lines."""
    return _OTLP if path == otlp.PATH else _LINES


def lines_of(body: Data, path: str, content_type: str, now_ms: int, origin: str, taken: otlp.Taken) -> Iterator[Pushed]:
    """The lines of a body, counted in `taken`.

    Args:
        content_type: one of `content_types(path)`.
        origin: who posts, `http://192.0.2.7`.
    Raises:
        RequestError: 400 for a body that is not of its type, 413 for too many lines.
    """
    if path == otlp.PATH:
        lines = otlp.pushed(_OTLP[content_type](body), now_ms, f"otlp+{origin}", taken)
    else:
        lines = (Pushed(line, now_ms, origin) for line in _counted(_LINES[content_type](body), taken))
    try:
        for line in lines:
            if taken.records > MOST_LINES:
                raise RequestError(413, f"more than {MOST_LINES} lines; send less at a time")
            yield line
    except MalformedError as error:
        raise RequestError(400, f"not an ExportLogsServiceRequest: {error}") from error


def _counted(lines: Iterator[bytes], taken: otlp.Taken) -> Iterator[bytes]:
    for line in lines:
        taken.records += 1
        yield line

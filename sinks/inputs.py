"""What a topic's values are, decided once per table and then said in its commit records.

By schemas, if the registry has the subject `<topic>-value`, or most of the first values name schemas that are registered under
the names of their records, or records name them in a header; else JSON, if all values of the first batch are JSON objects; else
bytes. A table without schemas gets them as soon as one of the first two holds.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from headrace.audit import AUDIT_TOPIC
from headrace.clock import MonotonicMs
from headrace.errors import PeerError
from headrace.sinks.messages import Message, headers_of
from headrace.sinks.registered import INPUTS, SCHEMA_HEADER, Input, Schemas, name_of
from headrace.sinks.values import WITH_SCHEMAS, parsed_json

_SAMPLE: Final = 100


def decide_input(topic: str, known: str | None, messages: Sequence[Message], schemas: Schemas, now_ms: MonotonicMs) -> Input:
    """How to read the values of a topic whose table says `known` (None: it has none yet).

    Raises:
        PeerError: undecided, and the registry cannot be asked.
    """
    if topic == AUDIT_TOPIC:
        return "json"
    if known in WITH_SCHEMAS:
        return known  # type: ignore[return-value] # narrowed by the test
    try:
        if registered := schemas.input_of(topic) or _named_input(topic, messages, schemas, now_ms):
            return registered
    except PeerError:
        if known is None:
            raise
    if known in ("json", "bytes"):
        return known  # type: ignore[return-value] # narrowed by the test
    if any(name == SCHEMA_HEADER for message in messages for name, _ in headers_of(message) or ()):
        return "avro"
    values = [value for message in messages if (value := message.value()) is not None]
    return "json" if values and all(_is_json_object(value) for value in values) else "bytes"


def _named_input(topic: str, messages: Sequence[Message], schemas: Schemas, now_ms: MonotonicMs) -> Input | None:
    """What most of the first values are by the schemas that they name, where these read them; None if most are something else.

    Most, because a number may begin like a framing and happen to be read, and because there may be poison among the first.
    """
    values = [value for message in messages if (value := message.value()) is not None][:_SAMPLE]
    framed = [named for value in values if (named := name_of(value, None)) is not None]
    if len(framed) * 2 <= len(values):
        return None  # and the registry is neither asked nor waited for
    found: Counter[Input] = Counter()
    for name, payload in framed:
        schema = schemas.find_used(topic, "value", name, now_ms)
        if schema is not None and not schema.decode([payload])[1]:
            found[INPUTS.get(schema.type, "avro")] += 1
    return found.most_common(1)[0][0] if found.total() * 2 > len(values) else None


def _is_json_object(value: bytes) -> bool:
    try:
        return isinstance(parsed_json(value), dict)
    except (ValueError, RecursionError):
        return False

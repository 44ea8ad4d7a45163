"""The names by which serializers may register a schema: what RecordName and TopicRecordName strategies call it. Pure.

Source: Confluent's `SubjectNameStrategy`: of Avro the full name of the outermost type, of JSON Schema its `title`, of Protobuf
the full name of the message, whichever of the file it is.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any


def record_names(kind: str, text: str, references: Sequence[tuple[str, str]] = ()) -> frozenset[str]:
    """The names of a schema that the registry has; none where its type gives it none.

    Args:
        kind: AVRO, JSON or PROTOBUF.
        references: (name, text) of what it refers to.
    """
    if kind == "PROTOBUF":
        return _message_names(text, references)
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError):
        return frozenset()
    name = _avro_name(schema) if kind == "AVRO" else _title(schema)
    return frozenset({name}) if isinstance(name, str) and name else frozenset()


def _avro_name(schema: Any) -> str | None:
    if not isinstance(schema, dict):
        return schema if isinstance(schema, str) else None
    name, namespace = schema.get("name", schema.get("type")), schema.get("namespace")
    if not isinstance(name, str):
        return None
    return f"{namespace}.{name}" if isinstance(namespace, str) and namespace and "." not in name else name


def _title(schema: Any) -> Any:
    return schema.get("title") if isinstance(schema, dict) else None


def _message_names(text: str, references: Sequence[tuple[str, str]]) -> frozenset[str]:
    from headrace.schemas.invalid import InvalidSchemaError
    from headrace.schemas.protobuf_compiler import compiled  # brings a compiler, which most topics do not need

    try:
        main = compiled(text, references)[-1]
    except InvalidSchemaError:
        return frozenset()
    return frozenset(_nested(main.package, main.message_type))


def _nested(prefix: str, messages: Sequence[Any]) -> Iterator[str]:
    for message in messages:
        name = f"{prefix}.{message.name}" if prefix else message.name
        yield name
        yield from _nested(name, message.nested_type)

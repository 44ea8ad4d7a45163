"""Mappings to bytes, after the message classes of kio: a response is a mapping, and fields that a version lacks are dropped.

Why not kio's own writers: they want objects with every field of exactly that version, durations as timedelta, and take 96 ms
for the Metadata of 10,000 partitions; these take a tenth of it (ADR on the wire). A plan is made once per class: runs of
fixed-width fields become one `struct.pack`. A field that the mapping lacks takes the default that the schema states; where it
states none, only `throttle_time` and `error_code` (0) may be left out. Durations and times are integers in ms.
"""

import dataclasses
import datetime
import struct
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Writer = Callable[[bytearray, Any], None]
FIXED = {  # kafka_type of a fixed-width field → its struct format
    "int8": "b",
    "int16": "h",
    "int32": "i",
    "int64": "q",
    "uint8": "B",
    "uint16": "H",
    "uint32": "I",
    "uint64": "Q",
    "float64": "d",
    "bool": "?",
    "error_code": "h",
    "timedelta_i32": "i",
    "timedelta_i64": "q",
    "datetime_i64": "q",
}
_REQUIRED = object()
_INT16 = struct.Struct(">h")
_INT32 = struct.Struct(">i")


def entity_writer(entity: type) -> Writer:
    """The writer of mappings as the kio class `entity`; keys are the class's field names.

    A missing field without a default is a KeyError: our fault, not the peer's.
    """
    flexible: bool = entity.__flexible__  # type: ignore[attr-defined]  # every class of kio has it
    steps = _steps([field for field in dataclasses.fields(entity) if "tag" not in field.metadata], flexible)
    if flexible:
        steps.append(_tagged_writer(_tagged(entity)))

    def write(out: bytearray, value: Mapping[str, Any]) -> None:
        for step in steps:
            step(out, value)

    return write


def _tagged(entity: Any) -> list[tuple[int, Any]]:
    tagged = {field.metadata["tag"]: field for field in dataclasses.fields(entity) if "tag" in field.metadata}
    return sorted(tagged.items())


Stepper = Callable[[bytearray, Any], Iterator[None]]
_ITEMS_AT_A_TIME = 16


def entity_stepper(entity: type) -> Stepper:
    """The same in steps: others may have a turn after every few items of an array."""
    flexible: bool = entity.__flexible__  # type: ignore[attr-defined]  # every class of kio has it
    plan: list[tuple[Writer | None, Stepper | None]] = []
    run: list[Any] = []
    for field in dataclasses.fields(entity):
        if "tag" in field.metadata:
            continue
        run.append(field)
        if is_array(field) and not field.metadata.get("kafka_type"):
            run.pop()
            plan += [(write, None) for write in _steps(run, flexible)]
            plan.append((None, _array_stepper(field, flexible)))
            run = []
    plan += [(write, None) for write in _steps(run, flexible)]
    if flexible:
        plan.append((_tagged_writer(_tagged(entity)), None))

    def step(out: bytearray, value: Mapping[str, Any]) -> Iterator[None]:
        for write, inner in plan:
            if write is not None:
                write(out, value)
            elif inner is not None:
                yield from inner(out, value)

    return step


def _array_stepper(field: Any, flexible: bool) -> Stepper:
    name, default = field.name, _default(field)
    write_count = _array_writer(_write_nothing, flexible)
    step_item = entity_stepper(inner_type(field.type))

    def step(out: bytearray, value: Mapping[str, Any]) -> Iterator[None]:
        items = value[name] if default is _REQUIRED else value.get(name, default)
        write_count(out, items)
        for count, item in enumerate(items or (), 1):
            yield from step_item(out, item)
            if count % _ITEMS_AT_A_TIME == 0:
                yield

    return step


def _write_nothing(_: bytearray, __: Any) -> None:
    pass


def _steps(fields: list[Any], flexible: bool) -> list[Writer]:
    steps: list[Writer] = []
    run: list[Any] = []
    for field in fields:
        if is_array(field) or field.metadata.get("kafka_type") not in FIXED:
            if run:
                steps.append(_run_writer(run))
                run = []
            steps.append(_field_writer(field, flexible))
        else:
            run.append(field)
    if run:
        steps.append(_run_writer(run))
    return steps


def _run_writer(fields: list[Any]) -> Writer:
    """Fixed-width fields in a row, as one pack."""
    pack = struct.Struct(">" + "".join(FIXED[field.metadata["kafka_type"]] for field in fields)).pack
    plan = [(field.name, _default(field)) for field in fields]
    required = frozenset(name for name, default in plan if default is _REQUIRED)

    def write(out: bytearray, value: Mapping[str, Any]) -> None:
        out += pack(*[value[name] if name in required else value.get(name, default) for name, default in plan])

    return write


def _field_writer(field: Any, flexible: bool) -> Writer:
    name, default, write_value = field.name, _default(field), _value_writer(field, flexible)
    if default is _REQUIRED:

        def write_required(out: bytearray, value: Mapping[str, Any]) -> None:
            write_value(out, value[name])

        return write_required

    def write(out: bytearray, value: Mapping[str, Any]) -> None:
        write_value(out, value.get(name, default))

    return write


def _tagged_writer(fields: list[tuple[int, Any]]) -> Writer:
    """Tagged fields are written where the mapping has them and they differ from the default (KIP-482)."""
    plan = [(tag, field.name, _default(field), _value_writer(field, True)) for tag, field in fields]

    def write(out: bytearray, value: Mapping[str, Any]) -> None:
        present = [entry for entry in plan if entry[1] in value and value[entry[1]] != entry[2]]
        write_unsigned_varint(out, len(present))
        for tag, name, _, write_value in present:
            body = bytearray()
            write_value(body, value[name])
            write_unsigned_varint(out, tag)
            write_unsigned_varint(out, len(body))
            out += body

    return write


def _default(field: Any) -> Any:
    default = field.default
    if isinstance(default, datetime.timedelta):
        return round(default.total_seconds() * 1000)
    if default is None and field.metadata.get("kafka_type") == "datetime_i64":
        return -1
    if default is not dataclasses.MISSING:
        return default
    return 0 if field.name in ("throttle_time", "error_code") else _REQUIRED


def _value_writer(field: Any, flexible: bool) -> Writer:
    kind = field.metadata.get("kafka_type")
    inner = inner_type(field.type)
    if is_array(field):
        item = _primitive_writer(kind, flexible) if kind else entity_writer(inner)
        return _array_writer(item, flexible)
    if kind:
        return _primitive_writer(kind, flexible)
    write_entity = entity_writer(inner)
    if not is_optional(field.type):
        return write_entity

    def write_nullable(out: bytearray, value: Mapping[str, Any] | None) -> None:  # KIP-893
        out.append(0xFF if value is None else 1)
        if value is not None:
            write_entity(out, value)

    return write_nullable


def _array_writer(write_item: Writer, flexible: bool) -> Writer:
    def write(out: bytearray, items: typing.Sequence[Any] | None) -> None:
        count = -1 if items is None else len(items)
        if flexible:
            write_unsigned_varint(out, count + 1)
        else:
            out += _INT32.pack(count)
        for item in items or ():
            write_item(out, item)

    return write


def _primitive_writer(kind: str, flexible: bool) -> Writer:
    if kind in FIXED:
        pack = struct.Struct(">" + FIXED[kind]).pack

        def write_fixed(out: bytearray, value: int) -> None:
            out += pack(value)

        return write_fixed
    if kind == "uuid":
        return _write_uuid
    if flexible:
        return _write_compact
    return _write_string if kind == "string" else _write_bytes


def _write_uuid(out: bytearray, value: Any) -> None:
    out += bytes(16) if value is None else value.bytes


def _write_compact(out: bytearray, value: str | bytes | None) -> None:
    if value is None:
        out.append(0)
        return
    data = value.encode() if isinstance(value, str) else value
    write_unsigned_varint(out, len(data) + 1)
    out += data


def _write_string(out: bytearray, value: str | None) -> None:
    if value is None:
        out += _INT16.pack(-1)
        return
    data = value.encode()
    out += _INT16.pack(len(data))
    out += data


def _write_bytes(out: bytearray, value: bytes | None) -> None:
    if value is None:
        out += _INT32.pack(-1)
        return
    out += _INT32.pack(len(value))
    out += value


def write_unsigned_varint(out: bytearray, value: int) -> None:
    """Seven bits a byte, least significant first (protobuf's encoding)."""
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def is_array(field: Any) -> bool:
    """Whether a field of a kio class is an array, nullable or not."""
    return any(typing.get_origin(option) is tuple for option in _options(field.type))


def is_optional(annotation: Any) -> bool:
    """Whether a kio annotation allows None."""
    return type(None) in _options(annotation)


def _options(annotation: Any) -> tuple[Any, ...]:
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        return typing.get_args(annotation)
    return (annotation,)


def inner_type(annotation: Any) -> Any:
    """The class inside `X`, `X | None`, `tuple[X, ...]` or `tuple[X, ...] | None`."""
    annotation = next(option for option in _options(annotation) if option is not type(None))
    if typing.get_origin(annotation) is tuple:
        annotation = typing.get_args(annotation)[0]
    return annotation

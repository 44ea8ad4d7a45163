"""What a request claims, checked on its bytes before kio decodes them, because kio believes it.

- Arrays: kio makes room for as many items as an array claims, and only then reads the first. Forty bytes that claim 2³² items
  are a failed allocation, which ends the process and cannot be caught. It also reads any array as null, allowed or not. So no
  array may claim more items than the rest of the request has room for, nor be null where it must not be.
- Tagged fields: those that are not known are to be ignored, whatever they hold (KIP-482); kio refuses them. They are cut out.

All else is left to kio. A plan is made once per message; runs of fixed-width fields are one addition, and an array of items of
fixed width without tagged fields, as most are, is one look at the bytes where those would be counted.
"""

import dataclasses
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from headrace.broker.wire.encode import FIXED, inner_type, is_array, is_optional
from headrace.broker.wire.header import MalformedRequestError, unsigned_varint

Frame = bytes | memoryview
_Cuts = list[tuple[int, int, bytes]]  # from, to, and what stands there instead; in order
_Walk = Callable[[Frame, int, _Cuts], int]  # from the position of a field to that after it
_INT16 = struct.Struct(">h")
_INT32 = struct.Struct(">i")
_UUID_SIZE = 16


def claims_check(entity: Any) -> Callable[[Frame, int], Frame] | None:
    """The check of a request's body, which begins at the given position; None where a message claims nothing.

    It returns the frame, without tagged fields that the message does not know, and raises:
        MalformedRequestError: an array is null that may not be, or claims more items than there are bytes for; or the bytes
            end in the middle of a field.
    """
    steps = _entity_steps(entity)
    while steps and not callable(steps[-1]):
        steps.pop()
    if not entity.__flexible__ and not any(map(_has_array, dataclasses.fields(entity))):
        return None
    walk = _in_turn(steps)

    def check(frame: Frame, position: int) -> Frame:
        cuts: _Cuts = []
        try:
            walk(frame, position, cuts)
        except (IndexError, struct.error) as error:
            raise MalformedRequestError("the request ends in the middle of a field") from error
        return _without(frame, cuts) if cuts else frame

    return check


def _without(frame: Frame, cuts: _Cuts) -> bytes:
    pieces: list[bytes] = []
    position = 0
    for start, end, instead in cuts:
        pieces += (bytes(frame[position:start]), instead)
        position = end
    return b"".join([*pieces, bytes(frame[position:])])


def _has_array(field: Any) -> bool:
    inner = inner_type(field.type)
    return is_array(field) or (dataclasses.is_dataclass(inner) and any(map(_has_array, dataclasses.fields(inner))))


def _entity_steps(entity: Any) -> list[int | _Walk]:
    """What to do per field: so many bytes to go on, or a walk that finds out."""
    flexible: bool = entity.__flexible__
    fields = dataclasses.fields(entity)
    plain = [field for field in fields if "tag" not in field.metadata]
    steps = [_array(field, flexible) if is_array(field) else _value(field, flexible) for field in plain]
    return [*steps, _tagged_fields(frozenset(_tags(fields)))] if flexible else steps


def _tags(fields: Iterable[Any]) -> Iterator[int]:
    return (field.metadata["tag"] for field in fields if "tag" in field.metadata)


def _in_turn(steps: list[int | _Walk]) -> _Walk:
    plan: list[tuple[int, _Walk]] = []  # (bytes to go on, then a walk)
    skip = 0
    for step in steps:
        if isinstance(step, int):
            skip += step
        else:
            plan.append((skip, step))
            skip = 0

    def walk(frame: Frame, position: int, cuts: _Cuts) -> int:
        for before, step in plan:
            position = step(frame, position + before, cuts)
        return position + skip

    return walk


def _value(field: Any, flexible: bool) -> int | _Walk:
    """One value of a field's type, or one item of an array."""
    kind = field.metadata.get("kafka_type")
    if kind in FIXED:
        return struct.calcsize(">" + FIXED[kind])
    if kind == "uuid":
        return _UUID_SIZE
    if kind is not None:
        return _after_compact if flexible else _after_string if kind == "string" else _after_bytes
    assert is_array(field) or not is_optional(field.type)  # KIP-893's nullable structures are in no request that is served
    steps = _entity_steps(inner_type(field.type))
    widths = [step for step in steps if isinstance(step, int)]
    return sum(widths) if len(widths) == len(steps) else _in_turn(steps)


def _array(field: Any, flexible: bool) -> _Walk:
    name, item, least = field.name, _value(field, flexible), _least_bytes(field, flexible)
    is_plain = flexible and _is_fixed_but_for_tags(field)
    may_be_null = is_optional(field.type)

    def walk(frame: Frame, position: int, cuts: _Cuts) -> int:
        if flexible:
            count = frame[position] - 1
            position += 1
            if count >= 0x7F:
                count, position = unsigned_varint(frame, position - 1)
                count -= 1
        else:
            (count,) = _INT32.unpack_from(frame, position)
            position += 4
        if count < 0 and not (count == -1 and may_be_null):
            raise MalformedRequestError(f"{name} is null" if count == -1 else f"{name} has {count} items")
        if count * least > len(frame) - position:
            raise MalformedRequestError(f"{name} claims {count} items, and {len(frame) - position} bytes are left")
        if isinstance(item, int):
            return position + max(count, 0) * item
        if is_plain and not any(frame[position + least - 1 : position + count * least : least]):
            return position + max(count, 0) * least
        for _ in range(count):
            position = item(frame, position, cuts)
        return position

    return walk


def _is_fixed_but_for_tags(field: Any) -> bool:
    """Whether its items are structures of fixed width, if they have no tagged fields, which are counted at their end."""
    below = inner_type(field.type)
    if not dataclasses.is_dataclass(below):
        return False
    steps = _entity_steps(below)
    return all(isinstance(step, int) for step in steps[:-1])


def _tagged_fields(known: frozenset[int]) -> _Walk:
    def walk(frame: Frame, start: int, cuts: _Cuts) -> int:
        if not frame[start]:
            return start + 1
        count, position = unsigned_varint(frame, start)
        kept: list[bytes] = []
        for _ in range(count):
            begin = position
            tag, position = unsigned_varint(frame, position)
            size, position = unsigned_varint(frame, position)
            position += size
            if tag in known:
                kept.append(bytes(frame[begin:position]))
        if len(kept) < count:
            cuts.append((start, position, bytes([len(kept)]) + b"".join(kept)))  # few are known: the count is one byte
        return position

    return walk


def _least_bytes(field: Any, flexible: bool) -> int:
    """The fewest bytes that an item, or a value, of this field can take."""
    kind = field.metadata.get("kafka_type")
    if kind in FIXED:
        return struct.calcsize(">" + FIXED[kind])
    if kind == "uuid":
        return _UUID_SIZE
    if kind is not None:
        return 1 if flexible else 2 if kind == "string" else 4
    plain = [below for below in dataclasses.fields(inner_type(field.type)) if "tag" not in below.metadata]
    sizes = [(1 if flexible else 4) if is_array(below) else _least_bytes(below, flexible) for below in plain]
    return sum(sizes) + flexible


def _after_compact(frame: Frame, position: int, _: _Cuts) -> int:
    size = frame[position]
    if size < 0x80:
        return position + (size or 1)
    size, position = unsigned_varint(frame, position)
    return position + size - 1


def _after_string(frame: Frame, position: int, _: _Cuts) -> int:
    (size,) = _INT16.unpack_from(frame, position)
    return int(position + 2 + max(size, 0))


def _after_bytes(frame: Frame, position: int, _: _Cuts) -> int:
    (size,) = _INT32.unpack_from(frame, position)
    return int(position + 4 + max(size, 0))

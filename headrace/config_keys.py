"""The keys that a model knows, and what to say of one that it does not know."""

import difflib
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from headrace.config_file import Place, dotted

_MOST_KEYS_SHOWN = 20
REFERENCE = "headrace config reference"


def options(kind: Any) -> list[Any]:
    """The types that a value may have, without what pydantic is told beside them and without None."""
    while get_origin(kind) is typing.Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) in (typing.Union, types.UnionType):
        return [each for option in get_args(kind) if option is not type(None) for each in options(option)]
    return [kind]


def without_none(kind: Any) -> Any:
    """The type of a field, the first where there are several."""
    return options(kind)[0]


def fields_of(kind: Any) -> dict[str, FieldInfo]:
    """The fields of a section by their keys; none of what is no section."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {field.alias or name: field for name, field in kind.model_fields.items()}
    return {}


def below(kind: Any, step: str | int) -> Any:
    """The type of what is in a section, a mapping or a list; None where that has none."""
    kind = without_none(kind)
    if fields := fields_of(kind):
        field = fields.get(str(step))
        return None if field is None else field.annotation
    arguments = get_args(kind)
    if get_origin(kind) in (dict, Mapping):
        return arguments[-1]
    return arguments[0] if arguments else None


def kind_at(model: type[BaseModel], place: Place) -> Any:
    """The type of what is there."""
    kind: Any = model
    for step in place:
        kind = below(kind, step)
    return kind


def field_at(model: type[BaseModel], place: Place) -> FieldInfo | None:
    """The nearest field of that place, or above it."""
    found, kind = None, typing.cast("Any", model)
    for step in place:
        found = fields_of(without_none(kind)).get(str(step), found)
        kind = below(kind, step)
    return found


def places(kind: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key of a model; an entry of a list or mapping is not one."""
    kind = without_none(kind)
    for key, field in fields_of(kind if fields_of(kind) or not get_args(kind) else without_none(below(kind, 0))).items():
        yield (*above, key)
        yield from places(field.annotation, (*above, key))


def nearest(valid: list[str], *keys: str) -> str:
    """What to do about a key that is none; `keys` are the readings of what was written, the likeliest first."""
    for key in keys:
        if close := difflib.get_close_matches(key, valid, n=1):
            return f"did you mean {close[0]}?"
    if len(valid) > _MOST_KEYS_SHOWN:
        return f"every key is told by: {REFERENCE}"
    return f"valid keys: {', '.join(sorted(valid))}" if valid else "nothing can be said below it; remove it"


def meant_by(model: type[BaseModel], place: Place, value: Any) -> tuple[str, str]:
    """What to do about an unknown key, and the key beside it that is probably meant (empty where none is)."""
    key, parent = str(place[-1]), kind_at(model, place[:-1])
    valid = list(fields_of(without_none(parent)))
    if nested := _nested(parent, key):
        return f"write it as {nested}", nested.partition(":")[0]
    if isinstance(value, Mapping) and (whole := [f"{key}.{each}" for each in value if f"{key}.{each}" in valid]):
        return f"its keys are written whole, as {whole[0]}: …", whole[0]
    if close := difflib.get_close_matches(key, valid, n=1):
        return f"did you mean {close[0]}?", close[0]
    if elsewhere := [path for path in places(model) if dotted(path) == key or path[-1] == key]:
        return f"did you mean {dotted(elsewhere[0])}?", ""
    return nearest(valid), ""


def _nested(kind: Any, key: str) -> str:
    """A key with dots that are the borders of sections, as YAML says it."""
    for path in places(kind):
        if len(path) > 1 and dotted(path) == key:
            return f"{path[0]}: " + "".join(f"{{{each}: " for each in path[1:]) + "…" + "}" * (len(path) - 1)
    return ""

"""Every key of every part's configuration, as the tables of docs/configuration.md: `headrace config reference`."""

from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from headrace.config import Section
from headrace.config_keys import without_none

_HEAD = """# Configuration

Every key of every part; `make docs` writes this page from the code. One YAML file a process, named by `--config`. A key is
overridden by `--set inputs.0.topic=app`, or in the environment by `HEADRACE__INPUTS__0__TOPIC=app` (a `.` inside a key is
written `_`).
"""


def page(models: Mapping[str, type[Section]]) -> str:
    """The whole page, a table a part."""
    return "\n".join([_HEAD, *(_table(part, model) for part, model in models.items())])


def _table(part: str, model: type[Section]) -> str:
    rows = [f"| `{key}` | {default} | {meaning} |" for key, default, meaning in keys(model)]
    return "\n".join([f"## headrace {part}", "", "| key | default | meaning |", "|---|---|---|", *rows, ""])


def keys(model: type[BaseModel], above: str = "") -> Iterator[tuple[str, str, str]]:
    """(key, default, meaning) of each key, sections opened; a list's place is written `0`."""
    for name, field in model.model_fields.items():
        key = above + (field.alias or name)
        kind: Any = without_none(field.annotation)
        place = ""
        if get_origin(kind) is list:
            kind, place = get_args(kind)[0], "0."
        if isinstance(kind, type) and issubclass(kind, Section):
            yield from keys(kind, f"{key}.{place}")
        else:
            yield key, _default(field), field.description or ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "*needed*"
    value = field.default
    if value is None or value == []:
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{list(value)}`" if isinstance(value, tuple) else f"`{value}`"

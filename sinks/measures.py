"""Values that the loader's configuration holds in several places: sizes, durations, patterns of topics."""

import math
import re
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

_SIZES: Final = {"": 1, "b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "kb": 10**3, "mb": 10**6, "gb": 10**9}
_SECONDS: Final = {"ms": 0.001, "": 1, "s": 1, "m": 60, "h": 3600}


def _measure(value: Any, units: dict[str, Any], example: str) -> Any:
    if not isinstance(value, str):
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"must be finite; write it like {example}")
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", value)
    if not match or match.group(2).lower() not in units:
        raise ValueError(f"write it like {example}")
    measured = float(match.group(1)) * units[match.group(2).lower()]
    if not math.isfinite(measured):
        raise ValueError(f"is too large; write it like {example}")
    return measured


def _size(value: Any) -> Any:
    measured = _measure(value, _SIZES, "128MiB")
    return int(measured) if isinstance(measured, float) else measured


def parse_size(text: str) -> int:
    """`128MiB` in bytes. Raises ValueError: it is no size, or none above 0."""
    size = int(_size(text))
    if size <= 0:
        raise ValueError("it must be above 0")
    return size


def _schema(example: str) -> WithJsonSchema:
    return WithJsonSchema({"type": ["number", "string"], "examples": [example]})


Size = Annotated[int, BeforeValidator(_size), Field(gt=0), _schema("128MiB")]
"""Bytes; in a file a number or a text with a unit."""
Duration = Annotated[float, BeforeValidator(lambda value: _measure(value, _SECONDS, "10m")), Field(gt=0), _schema("10m")]
"""Seconds; in a file a number or a text with a unit."""


def _are_patterns(patterns: tuple[str, ...]) -> tuple[str, ...]:
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None
    return patterns


Patterns = Annotated[tuple[str, ...], AfterValidator(_are_patterns)]

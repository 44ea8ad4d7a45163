"""Avro values as JSON text."""

import json
import math
from typing import Any


def json_text(value: Any) -> str | None:
    """The text of a value as fastavro reads it; None of None.

    Bytes are ISO-8859-1; NaN and infinities, which JSON has no numbers for, `"NaN"`, `"Infinity"`, `"-Infinity"`.
    """
    if value is None:
        return None
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, default=_bytes_text)
    except ValueError:
        return json.dumps(_with_names(value), ensure_ascii=False, default=_bytes_text)


def _with_names(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: _with_names(member) for key, member in value.items()}
    return [_with_names(item) for item in value] if isinstance(value, list) else value


def _bytes_text(value: object) -> str:
    if not isinstance(value, bytes):
        raise TypeError(f"{type(value).__name__} is no Avro value")
    return value.decode("iso-8859-1")

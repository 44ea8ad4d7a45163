"""JSON payloads with a schema to Arrow."""

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import pyarrow as pa

from headrace.schemas.columns import UnsupportedSchemaError
from headrace.schemas.json_columns import Convert, compile_schema
from headrace.schemas.rows import DECODE_ERRORS, Bad, Part, to_batch


@lru_cache(maxsize=1000)
def _plan(text: str, references: tuple[tuple[str, str], ...]) -> tuple[pa.StructType, Convert] | str:
    try:
        return compile_schema(text, dict(references))
    except UnsupportedSchemaError as error:
        return str(error)


def decode(text: str, payloads: Sequence[bytes], references: tuple[tuple[str, str], ...] = ()) -> tuple[list[Part], Bad]:
    """Decode payloads (without their framing) that were written with one schema.

    Returns:
        the rows, and (index, reason) of what cannot be decoded, ascending.
    """
    plan = _plan(text, references)
    if isinstance(plan, str):
        return [], [(index, plan) for index in range(len(payloads))]
    kind, convert = plan
    rows: list[Any] = []
    where: list[int] = []
    bad: Bad = []
    for index, payload in enumerate(payloads):
        try:
            rows.append(convert(_parsed(payload), "$"))
        except (*DECODE_ERRORS, RecursionError) as error:
            bad.append((index, f"not of its schema: {error}"))
        else:
            where.append(index)
    batch, kept = to_batch(kind, rows, where, bad)
    return [(pa.Table.from_batches([batch]), kept)], bad


def _parsed(payload: bytes) -> Any:
    return json.loads(payload.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse)


def _unique(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) < len(members):
        raise ValueError("an object has two members of one name")
    return found


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")

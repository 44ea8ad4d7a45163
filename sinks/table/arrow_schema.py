"""A table's columns as its log says them (`arrow_schema`, record.py). Imports Arrow and nothing that decodes records."""

import base64

import pyarrow as pa
import xxhash

from headrace.errors import CorruptError


def encode_schema(schema: pa.Schema) -> str:
    """A schema as a commit record says it: Arrow's IPC message in base64, as Parquet's `ARROW:schema` has it."""
    return base64.b64encode(schema.serialize()).decode("ascii")


def decode_schema(text: str) -> pa.Schema:
    """The inverse.

    Raises:
        CorruptError: it is none.
    """
    try:
        return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text, validate=True)))
    except (ValueError, OSError, pa.ArrowException) as error:
        raise CorruptError(f"arrow_schema is no schema: {error}") from error


def fingerprint(arrow_schema: str) -> str:
    """Of columns, as `DataFile.columns` has it: xxh64, in hex, of how a record says them."""
    return f"{xxhash.xxh64_intdigest(arrow_schema.encode()):016x}"

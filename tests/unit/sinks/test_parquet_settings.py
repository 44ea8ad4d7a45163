"""load.parquet is what the loader's files say of themselves."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from headrace.sinks.formats.parquet import compared
from headrace.sinks.registered import Schemas
from headrace.sinks.table import names
from tests.parquet_files import parquet_settings
from tests.unit.sinks.messages import Message
from tests.unit.sinks.one_table import OneTable

ROWS = 400


def landed(directory: Path, **parquet: Any) -> Path:
    """The file of rows some of whose values repeat."""
    table = OneTable(directory, Schemas(None), parquet=parquet)
    texts = [json.dumps({"n": number % 10, "of": "words that come again and again " * 4}) for number in range(ROWS)]
    (file,) = table.land(*(Message(offset, text.encode()) for offset, text in enumerate(texts))).add
    return directory / names.staged(file.path)


@pytest.mark.parametrize(
    ("parquet", "settings"),
    [
        ({}, ({"ZSTD"}, True, True, ROWS)),
        ({"compression": "snappy", "dictionary": False}, ({"SNAPPY"}, False, True, ROWS)),
        ({"compression": "gzip", "statistics": False}, ({"GZIP"}, True, False, ROWS)),
        ({"compression": "none", "row_group_rows": 150}, ({"UNCOMPRESSED"}, True, True, 150)),
    ],
)
def test_files_are_written_as_configured(tmp_path: Path, parquet: dict[str, Any], settings: Any) -> None:
    assert parquet_settings(landed(tmp_path, **parquet)) == settings


def test_a_higher_level_makes_smaller_files(tmp_path: Path) -> None:
    sizes = [landed(tmp_path / str(level), compression_level=level, dictionary=False).stat().st_size for level in (1, 19)]
    assert sizes[1] < sizes[0]


def test_no_column_of_floats_is_compared_wherever_it_lies() -> None:
    struct = pa.struct([("x", pa.float64()), ("n", pa.int32())])
    schema = pa.schema(
        [
            ("n", pa.int64()),
            ("half", pa.float16()),
            ("coded", pa.dictionary(pa.int8(), pa.float32())),
            ("pair", pa.list_(pa.int32(), 2)),
            ("floats", pa.list_(pa.float64(), 2)),
            ("m", struct),
            ("m.x", pa.string()),  # in Parquet both are called so
            ("tags", pa.map_(pa.string(), pa.list_(struct))),
        ]
    )
    within = "tags.key_value.value.list.element"
    assert compared(schema) == ["n", "pair.list.element", "m.n", "tags.key_value.key", f"{within}.n"]

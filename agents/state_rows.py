"""Rows of streams and chunks in the agent's state: their columns, and how values are kept in them (state.py owns the file)."""

import json
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from dataclasses import astuple, fields, replace
from typing import Any

from headrace.agents.rows import ChunkRow, Dropped, LineHead, StreamRow
from headrace.agents.state_generations import FILE_NAME
from headrace.errors import CorruptError

_STREAM_COLUMNS = [column.name for column in fields(StreamRow)]
_CHUNK_COLUMNS = [column.name for column in fields(ChunkRow)]
_SELECT_STREAMS = f"SELECT {', '.join(_STREAM_COLUMNS)} FROM streams ORDER BY complete_ms, stream_id"  # noqa: S608
_SELECT_STREAM = f"SELECT {', '.join(_STREAM_COLUMNS)} FROM streams WHERE stream_id = ?"  # noqa: S608
_SELECT_CHUNKS = f"SELECT {', '.join(_CHUNK_COLUMNS)}, definition FROM chunks LEFT JOIN pipelines ON pipelines.id = pipeline"  # noqa: S608


def _insert(table: str, columns: Sequence[str]) -> str:
    return f"INSERT OR REPLACE INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608


PUT_STREAM, PUT_CHUNK = _insert("streams", _STREAM_COLUMNS), _insert("chunks", _CHUNK_COLUMNS)


def read_streams(db: sqlite3.Connection) -> Iterator[StreamRow]:
    """Every stream in the state's file, the oldest look first."""
    return (_shared(StreamRow(*_stream_values(row))) for row in db.execute(_SELECT_STREAMS))


def read_stream(db: sqlite3.Connection, stream_id: str) -> StreamRow:
    """One stream that is in the state's file."""
    (row,) = db.execute(_SELECT_STREAM, (stream_id,))
    return _shared(StreamRow(*_stream_values(row)))


def read_chunks(db: sqlite3.Connection) -> list[ChunkRow]:
    """Every chunk on its way in the state's file."""
    return [_chunk(row) for row in db.execute(_SELECT_CHUNKS)]


def values(row: StreamRow | ChunkRow) -> list[Any]:
    """A row's columns; the head of a line, and what a dropped file was, are kept as JSON."""
    return [_value(getattr(row, column.name)) for column in fields(row)]


def _value(value: Any) -> Any:
    if isinstance(value, LineHead | Dropped):
        return json.dumps(astuple(value))
    if isinstance(value, str) and not value.isascii():
        return _blob_unless_utf8(value)
    return value


def _blob_unless_utf8(text: str) -> str | bytes:
    """SQLite's text is UTF-8, a file's name is any bytes: one that is not UTF-8 is kept as the bytes that it is."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape")
    return text


def _text(value: Any) -> Any:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value


def _stream_values(row: Sequence[Any]) -> list[Any]:
    values = [_text(value) for value in row]
    for name, read in (("tail_open", bool), ("detached", bool), ("line", _line), ("dropped", _dropped)):
        index = _STREAM_COLUMNS.index(name)
        values[index] = read(values[index])
    return values


def _shared(row: StreamRow) -> StreamRow:
    """The same row, with one object for texts that are equal: there may be ten thousand rows."""
    source = row.path if row.source == row.path else row.source
    return replace(row, topic=sys.intern(row.topic), host=sys.intern(row.host), source=source)


def _chunk(row: Sequence[Any]) -> ChunkRow:
    """A chunk's row with the definition behind it."""
    values = dict(zip(_CHUNK_COLUMNS, row, strict=False))
    if row[-1] is None:
        raise CorruptError(f"{FILE_NAME}: a chunk names a pipeline that is not there; move the file away to begin anew")
    return ChunkRow(**{**values, "pipeline": row[-1], "line": _line(values["line"]), "more": bool(values["more"])})


def _line(text: str | None) -> LineHead | None:
    return None if text is None else LineHead(*json.loads(text))


def _dropped(text: str | None) -> Dropped | None:
    return None if text is None else Dropped(*json.loads(text))

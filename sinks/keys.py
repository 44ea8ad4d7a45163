"""Keys by their schemas: records parted by what their keys' fields are.

A key is read by a schema where it names one that is a key's here: by GUID in the header `__key_schema_id`, or by an id that the
registry has for keys of the topic, or under the name of its record (registered.py). Anything else is bytes, which may begin
like a framing: many a number does. A record is judged by its value: a key that its schema cannot read stays what it is, bytes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from headrace.clock import MonotonicMs
from headrace.sinks.messages import Message, headers_of_all
from headrace.sinks.registered import SchemaName, Schemas, name_of

KEY_SCHEMA_HEADER: Final = "__key_schema_id"


@dataclass(frozen=True, slots=True)
class Keyed:
    """Records in offset order, and the fields of their keys: a struct each; None where no key is read by a schema."""

    messages: Sequence[Message]
    fields: pa.Array | None = None

    def of(self, offsets: np.ndarray) -> pa.Array:
        """The fields of the keys of some of the records."""
        assert self.fields is not None, "the keys have fields"
        own = np.fromiter((message.offset() for message in self.messages), np.int64, len(self.messages))
        return self.fields.take(pa.array(np.searchsorted(own, offsets)))


def by_key(topic: str, messages: Sequence[Message], schemas: Schemas, now_ms: MonotonicMs) -> list[Keyed]:
    """Records of one partition, in offset order, parted by the columns of their keys; each is in one part.

    Raises:
        PeerError: a schema cannot be fetched.
    """
    plain: list[int] = []
    named: dict[SchemaName, tuple[list[int], list[bytes]]] = {}
    for index, (message, headers) in enumerate(zip(messages, headers_of_all(messages), strict=True)):
        key = message.key()
        if (name := name_of(key, headers, KEY_SCHEMA_HEADER) if key is not None else None) is None:
            plain.append(index)
            continue
        indexes, payloads = named.setdefault(name[0], ([], []))
        indexes.append(index)
        payloads.append(name[1])
    parts = []
    for schema_name, (indexes, payloads) in named.items():
        read: set[int] = set()
        for where, fields in _read(topic, schema_name, payloads, schemas, now_ms):
            parts.append(Keyed([messages[indexes[at]] for at in where], fields))
            read.update(where)
        plain += [index for at, index in enumerate(indexes) if at not in read]
    return [*parts, Keyed([messages[index] for index in sorted(plain)])] if plain else parts


def _read(
    topic: str, name: SchemaName, payloads: list[bytes], schemas: Schemas, now_ms: MonotonicMs
) -> Iterator[tuple[Sequence[int], pa.Array]]:
    schema = schemas.find_used(topic, "key", name, now_ms)
    if schema is None:
        return
    for table, where in schema.decode(payloads)[0]:
        if table.num_rows and table.num_columns:
            rows = table.combine_chunks().to_struct_array()
            yield range(len(payloads)) if where is None else where, rows.combine_chunks()

"""How many bytes Avro's canonical encoding takes of each value in an array: one block an array or map, minimal varints. Pure.

What the bulk decoder has made (arrow.py) is proved by it. A size that is the same for all values is one number.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headrace.schemas.columns import Node

Sizes = np.ndarray | int


def record_sizes(columns: Sequence[pa.Array], node: Node) -> Sizes:
    """Of each record, whose fields are the columns."""
    return sum((encoded_sizes(column, child) for column, (_, child) in zip(columns, node.children, strict=True)), 0)


def encoded_sizes(array: pa.Array, node: Node) -> Sizes:
    """Of each value, as the bulk decoder made it."""
    if not node.nullable:
        return _sizes(array, node)
    if not array.null_count:
        return 1 + _sizes(array, node)  # one byte says which branch
    return 1 + np.where(array.is_valid().to_numpy(zero_copy_only=False), _sizes(array, node), 0)


def _sizes(array: pa.Array, node: Node) -> Sizes:
    """As if no value were null."""
    match node.kind:
        case "null":
            return 0
        case "boolean":
            return 1
        case "float":
            return 4
        case "double":
            return 8
        case "int" | "long":
            return varint_sizes(_numbers(array))
        case "string":
            return text_sizes(array)
        case "enum":
            return 1 if len(node.symbols) <= 64 else varint_sizes(_numbers(pc.index_in(array, pa.array(node.symbols))))
        case "record":
            return record_sizes([array.field(index) for index in range(array.type.num_fields)], node)
    return _blocks_sizes(array, node)


def _blocks_sizes(array: pa.Array, node: Node) -> Sizes:
    """An array or map: the count of items and the items where there are any, then a zero."""
    is_map = node.kind == "map"
    entries = array.cast(pa.list_(pa.struct([("key", pa.string()), ("value", array.type.item_type)]))) if is_map else array
    lengths = _numbers(pc.list_value_length(entries)).astype(np.int64)
    items, child = entries.flatten(), node.children[0][1]
    each = text_sizes(items.field(0)) + encoded_sizes(items.field(1), child) if is_map else encoded_sizes(items, child)
    ends = np.cumsum(lengths)
    before = np.concatenate(([0], np.cumsum(np.broadcast_to(each, len(items)))))
    return 1 + np.where(lengths > 0, varint_sizes(lengths) + before[ends] - before[ends - lengths], 0)


def text_sizes(array: pa.Array) -> Sizes:
    """Of texts or bytes: their length, and then they."""
    lengths = _numbers(pc.binary_length(array)).astype(np.int64)
    return varint_sizes(lengths) + lengths


def varint_sizes(values: np.ndarray) -> Sizes:
    """Of integers as zig-zag varints: one byte, and one more for each k with x ≥ 2^(7k-1) or x < -2^(7k-1)."""
    if not len(values):
        return 0
    sizes: Sizes = 1
    low, high = int(values.min()), int(values.max())
    for k in range(1, 10):
        limit = 1 << (7 * k - 1)
        if -limit <= low and high < limit:
            break
        if low >= limit or high < -limit:
            sizes = sizes + 1
            continue
        longer = values >= limit if high >= limit else np.zeros(len(values), bool)
        sizes = sizes + (longer | (values < -limit) if low < -limit else longer)
    return sizes


def _numbers(array: pa.Array) -> np.ndarray:
    filled: np.ndarray = (array.fill_null(0) if array.null_count else array).to_numpy(zero_copy_only=False)
    return filled

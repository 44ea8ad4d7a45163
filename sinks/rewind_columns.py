"""With which columns a table is landed again: those of a record, `--columns-of` of `headrace load --rewind`.

A table's columns are those of the first record that landed, and what goes with them (schemas/unified.py). Where that one was
wrong, all that came after it is in quarantine; and landed again from the beginning, it would come first again.
"""

import re

from headrace.clock import Clock
from headrace.errors import PeerError, UsageError
from headrace.sinks.config import LoadConfig
from headrace.sinks.evolution import Evolution
from headrace.sinks.inputs import decide_input
from headrace.sinks.messages import Message
from headrace.sinks.registered import Schemas
from headrace.sinks.table.arrow_schema import encode_schema
from headrace.sinks.table.rewind import Columns
from headrace.sinks.topics import SpotReader, Where
from headrace.sinks.values import decode


def parse_columns_of(text: str) -> tuple[int, int]:
    """`3:2500`: partition and offset.

    Raises:
        UsageError: it is something else.
    """
    if re.fullmatch(r"\d{1,9}:\d{1,18}", text) is None:
        raise UsageError(f"--columns-of {text}: write PARTITION:OFFSET, as 3:2500; `headrace quarantine show` has both")
    partition, offset = text.split(":")
    return int(partition), int(offset)


def columns_of(config: LoadConfig, topic: str, at: tuple[int, int], clock: Clock) -> Columns:
    """The columns that a record has by itself, as the loader would land it.

    Raises:
        UsageError: there is no such record, or it cannot be decoded.
        PeerError: Kafka or the registry does not answer.
    """
    partition, offset = at
    record, where = _record(config, (topic, partition), offset), f"--columns-of {partition}:{offset}"
    if record is None:
        raise UsageError(f"{where}: Kafka has no such record of {topic}; `headrace quarantine show {topic}` names some")
    schemas, now_ms = Schemas(config.registry.client() if config.registry else None), clock.monotonic_ms()
    kind = decide_input(topic, None, [record], schemas, now_ms)
    shape = config.load.output_of(topic).shape
    decoded, bad = decode(topic, kind, [record], schemas, 0, partition, shape=shape, now_ms=now_ms)
    if bad or record.value() is None:
        raise UsageError(f"{where}: that record has no columns: {bad[0].reason if bad else 'no value (a tombstone)'}")
    evolution = Evolution(None, aside=False)
    evolution.admit(decoded)
    assert evolution.columns is not None, "a record that was decoded has columns"
    return Columns(kind, encode_schema(evolution.columns))


def _record(config: LoadConfig, where: Where, offset: int) -> Message | None:
    spot = SpotReader(config.kafka)
    try:
        found = spot.records_at({where: offset})
    finally:
        spot.close()
    if where not in found:
        raise PeerError(f"kafka: topic {where[0]}: partition {where[1]} does not answer")
    record: Message | None = found[where]
    return record

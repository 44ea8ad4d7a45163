"""`headrace quarantine list|show|replay`: records that could not be decoded."""

import argparse
import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from headrace.errors import PeerError, UsageError
from headrace.sinks.maintenance_arguments import chosen_tables, print_rows
from headrace.sinks.places import add_place_arguments, landed_root

if TYPE_CHECKING:
    from headrace.sinks.config import LoadConfig
    from headrace.sinks.quarantined import Entry

REPLAYED_HEADER = "headrace-replayed"
"""On a replayed record: `partition:offset` of the one that was quarantined."""
_DELIVERY_S = 60.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define `list`, `show` and `replay`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listed = actions.add_parser("list", help="how many of each topic, and why")
    listed.add_argument("topics", metavar="TOPIC", nargs="*", help="tables (default: all)")
    shown = actions.add_parser("show", help="the records themselves, one JSON object a line")
    replayed = actions.add_parser("replay", help="produce them again, once what was wrong has been mended")
    replayed.add_argument(
        "--config", metavar="FILE", required=True, help="the loader's: its `kafka:`, and its root unless another is given"
    )
    replayed.add_argument("--topic", metavar="NAME", dest="target", help="produce to another topic, to its partitions by key")
    for action in (shown, replayed):
        action.add_argument("topic", metavar="TOPIC", help="the table's name")
        action.add_argument("--partition", type=int, metavar="P", help="of this partition only")
        action.add_argument("--offset", type=int, metavar="O", help="this record only; needs --partition")
        action.add_argument("--reason", metavar="TEXT", help="only where the reason contains this")
    for action in (listed, shown, replayed):
        add_place_arguments(action)
    listed.add_argument("--format", choices=("table", "json"), default="table", help="default: %(default)s")


def run(args: argparse.Namespace) -> int:
    """Run one of the three."""
    config = _config(args) if args.action == "replay" else None
    root = landed_root(args) if config is None or args.root or args.data else config.load.root
    if args.action == "list":
        return _list(root, chosen_tables(root, args.topics), args.format)
    if args.offset is not None and args.partition is None:
        raise UsageError("--offset needs --partition")
    chosen_tables(root, [args.topic])
    found = _chosen(root, args)
    return _show(found) if config is None else _replay(found, args, config)


def _config(args: argparse.Namespace) -> "LoadConfig":
    """The loader's configuration, for what is replayed.

    Raises:
        UsageError: it is wrong, or `--topic` is no name that a topic can have.
    """
    import os
    from pathlib import Path

    from headrace.config import load_config
    from headrace.sinks.config import LoadConfig

    if args.target is not None and not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", args.target):
        raise UsageError(f"--topic {args.target!r}: a topic's name has only ASCII letters, digits, '.', '_' and '-'")
    return load_config(LoadConfig, Path(args.config), overrides=[], environment=os.environ)


def _entries(root: str, topic: str) -> "Iterator[Entry]":
    from headrace.sinks.quarantined import entries
    from headrace.sinks.stores.roots import open_root
    from headrace.sinks.table.commit import read_head
    from headrace.sinks.table.store import carry_out

    store = open_root(root).table(topic)
    for quarantine in carry_out(read_head(), store).quarantined.values():
        yield from entries(store, quarantine)


def _chosen(root: str, args: argparse.Namespace) -> "Iterator[Entry]":
    for entry in _entries(root, args.topic):
        if args.partition is not None and entry.partition != args.partition:
            continue
        if args.offset is not None and entry.offset != args.offset:
            continue
        if args.reason is None or args.reason in entry.reason:
            yield entry


def _list(root: str, topics: list[str], format_: str) -> int:
    rows: list[dict[str, Any]] = []
    for topic in topics:
        counts: Counter[str] = Counter()
        times: dict[str, tuple[int, int]] = {}
        for entry in _entries(root, topic):
            counts[entry.reason] += 1
            first, last = times.get(entry.reason, (entry.timestamp_ms, entry.timestamp_ms))
            times[entry.reason] = min(first, entry.timestamp_ms), max(last, entry.timestamp_ms)
        rows += [
            {"topic": topic, "count": count, "first_ms": times[reason][0], "last_ms": times[reason][1], "reason": reason}
            for reason, count in counts.most_common()
        ]
    print_rows(rows, format_)
    if format_ == "table":
        _advise(rows)
    return 0


def _advise(rows: list[dict[str, Any]]) -> None:
    """What can be done about records that nothing is wrong with but that their columns are not the table's."""
    if not rows:
        print("nothing is quarantined")
        return
    from headrace.schemas.unified import MISFIT

    for topic in sorted({row["topic"] for row in rows if MISFIT in row["reason"]}):
        print(
            f"{topic}: a column that does not go with the table's lands beside it with load.incompatible: columns; or the table"
            f" lands anew under the columns of a record that `headrace quarantine show {topic}` names:"
            f" headrace load --config load.yaml --rewind {topic} --to beginning --columns-of PARTITION:OFFSET"
        )


def _show(found: "Iterator[Entry]") -> int:
    for entry in found:
        print(json.dumps({**entry.body, "value_text": _text(entry.value), "key_text": _text(entry.key)}))
    return 0


def _text(data: bytes | None) -> str | None:
    """Bytes as text where they are UTF-8; the base64 beside it is always exact."""
    try:
        return None if data is None else data.decode()
    except UnicodeDecodeError:
        return None


def _replay(found: "Iterator[Entry]", args: argparse.Namespace, config: "LoadConfig") -> int:
    """Produce records again, to the partition where they were; each has landed or is quarantined again by the loader.

    Raises:
        PeerError: some were not acknowledged; which ones went is said.
    """
    from confluent_kafka import KafkaException, Producer

    kafka = {key: value for key, value in config.kafka.items() if key != "group.id"}
    producer = Producer({**kafka, "enable.idempotence": True, "message.timeout.ms": int(_DELIVERY_S * 1000), "log_level": 2})
    sent, failed = Counter[str](), Counter[str]()

    def on_delivery(error: Any, _: Any) -> None:
        (failed if error else sent)[str(error or "")] += 1

    for entry in found:
        where = {"topic": args.target} if args.target else {"topic": args.topic, "partition": entry.partition}
        headers: list[Any] = [*(entry.headers or ()), (REPLAYED_HEADER, f"{entry.partition}:{entry.offset}".encode())]
        while True:
            try:
                producer.produce(
                    **where,
                    key=entry.key,
                    value=entry.value,
                    headers=headers,
                    timestamp=entry.timestamp_ms,
                    on_delivery=on_delivery,
                )
                break
            except BufferError:
                producer.poll(0.1)
            except KafkaException as error:
                raise PeerError(f"kafka: {error}; {sum(sent.values())} records were replayed before") from error
        producer.poll(0)
    left = producer.flush(_DELIVERY_S + 5)
    if left or failed:
        why = next(iter(failed), "no answer")
        raise PeerError(f"kafka: {left + sum(failed.values())} records were not acknowledged: {why}; {sum(sent.values())} were")
    print(f"{sum(sent.values())} records replayed to {args.target or args.topic}")
    return 0

"""`headrace agent rejected`: what the agent could not ship for what it is, and why; and sending it again."""

import argparse
import base64
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from headrace.agents.operate.place import add_overrides, add_place, config_of, directory_of

_COLUMNS = ("topic", "error", "content", "records", "first", "last")
_SHOWN_COLUMNS = ("topic", "time", "error", "stream_id", "position", "part", "value")
_SHOWN_CHARACTERS = 200


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of `headrace agent rejected`."""
    verbs = parser.add_subparsers(dest="verb", metavar="list|show|replay", required=True)
    told = {
        "list": "how many records there are, by topic and reason",
        "show": "the records themselves: where each was to go, why it did not, and what it is",
        "replay": "send them again, under their old identities, and take out what the broker has; while the agent stands still",
    }
    for verb, what in told.items():
        each = verbs.add_parser(verb, help=what, description=what)
        if verb == "replay":
            each.add_argument("--config", type=Path, metavar="FILE", required=True, help="the agent's configuration")
            each.add_argument("--reason", metavar="TEXT", help="only those whose reason contains TEXT")
            each.add_argument(
                "--timeout", type=float, default=30.0, metavar="S", help="for a silent broker, in s; default: %(default)s"
            )
            add_overrides(each)
        else:
            add_place(each)
        each.add_argument("--format", choices=("table", "json"), default="table", help="default: %(default)s")
        each.add_argument("--topic", help="of that topic only")
        if verb == "show":
            each.add_argument("--limit", type=int, default=20, metavar="N", help="that many at most; default: %(default)s")


def run(args: argparse.Namespace) -> int:
    """List, show (both work while the agent runs) or replay."""
    if args.verb == "replay":
        return _replay(args)
    from headrace.agents.operate.printing import print_rows
    from headrace.agents.rejected import rows_in

    rows = (row for row in rows_in(directory_of(args) / "rejected") if args.topic in (None, row["topic"]))
    if args.verb == "list":
        found = _summed(rows)
    else:
        found = [_shown(row, whole=args.format == "json") for row in islice(rows, args.limit)]
    print_rows(found, args.format, _COLUMNS if args.verb == "list" else _SHOWN_COLUMNS)
    if args.format == "table" and not found:
        print("nothing is rejected" if args.topic is None else f"nothing of topic {args.topic} is rejected")
    return 0


def _replay(args: argparse.Namespace) -> int:
    """Replay what fits by now; PeerError where the broker has not told of all."""
    from headrace.agents.operate.printing import counted, print_rows
    from headrace.agents.operate.replaying import REPLAYED, replay
    from headrace.errors import PeerError

    config = config_of(args)
    assert config is not None, "argparse asks for it"

    def wanted(row: dict[str, Any]) -> bool:
        return args.topic in (None, row["topic"]) and (args.reason is None or args.reason in row["error"])

    report = replay(config, wanted, patience_s=args.timeout)
    rows: list[dict[str, Any]] = [
        {"topic": topic, "records": count, "outcome": outcome, "why": why}
        for (topic, outcome, why), count in sorted(report.counts.items())
    ]
    print_rows(rows, args.format, ("topic", "records", "outcome", "why"), {REPLAYED: "green", "left": "yellow"})
    replayed = sum(row["records"] for row in rows if row["outcome"] == REPLAYED)
    if report.failed:
        raise PeerError(f"kafka: {report.failed}; {replayed} records were replayed before: replay again, nothing comes twice")
    if args.format == "table":
        print(
            f"{counted(replayed, 'record')} replayed."
            + (" Start the agent: its first heartbeat tells the audit." if replayed else "")
        )
    return 0


def _summed(rows: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    sums: dict[tuple[str, str, str], dict[str, Any]] = {}
    for row in rows:
        key = (row["topic"], row["error"], row.get("content", "record"))
        moment = _moment(row["timestamp_ms"])
        total = sums.setdefault(key, {**dict(zip(_COLUMNS, key, strict=False)), "records": 0, "first": moment, "last": moment})
        total["records"] += 1
        total["first"], total["last"] = min(total["first"], moment), max(total["last"], moment)
    return [sums[key] for key in sorted(sums)]


def _shown(row: dict[str, Any], *, whole: bool) -> dict[str, Any]:
    """A row for people: a line as text, cut; for programs as it is, with the time."""
    told = {"time": _moment(row["timestamp_ms"]), "stream_id": "", "position": "", "part": "", **row}
    if whole:
        return told
    value = base64.b64decode(row["value"]).decode("utf-8", "backslashreplace")
    return {**told, "value": "".join(each if each.isprintable() else "·" for each in value[:_SHOWN_CHARACTERS])}


def _moment(time_ms: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

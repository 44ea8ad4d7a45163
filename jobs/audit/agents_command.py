"""`headrace audit agents`: who announces what lands, and how each stands."""

import argparse
import sys
import time
from dataclasses import asdict
from typing import Final

from headrace.sinks.places import landed_root

_STYLES: Final = {"active": "green", "silent": "yellow", "cloned": "bold red", "retired": "dim"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of `headrace audit agents`."""
    parser.add_argument("--format", choices=("table", "csv", "json"), help="default: table")


def run(args: argparse.Namespace) -> int:
    """List them; needs nothing running."""
    root = landed_root(args)
    from headrace.jobs import output
    from headrace.jobs.audit.auditor import Auditor
    from headrace.jobs.audit.known_agents import Known, listed
    from headrace.jobs.audit.wording import when

    def shown(known: Known) -> dict[str, object]:
        values = asdict(known)
        for name in ("drained_to", "heard"):
            at_ms = values.pop(f"{name}_ms")
            values[name] = None if at_ms is None else when(at_ms).replace(" ", "T")
        values["topics"] = list(known.topics)
        return {name: values[name] for name in ("agent", "host", "state", "drained_to", "heard", "clock_ms", "topics")}

    if not (agents := Auditor(root).agents):
        print(
            f"headrace audit: no agent's announcement has landed below {root}: its loader has to land topic _audit",
            file=sys.stderr,
        )
    rows = [shown(known) for known in listed(agents.values(), time.time_ns() // 1_000_000)]
    names = list(rows[0]) if rows else []
    with output.output_stream(None) as stream:
        if args.format == "json":
            output.write_json(names, [list(row.values()) for row in rows], stream)
        elif args.format == "csv":
            output.write_csv(names, [[_text(value) for value in row.values()] for row in rows], stream)
        elif rows:
            from rich import box
            from rich.table import Table
            from rich.text import Text

            table = Table("agent", "host", "state", "drained to", "last heard", "clock", "topics", box=box.SIMPLE_HEAD)
            for row in rows:
                cells = [Text(output.escaped(_text(value))) for value in row.values()]
                cells[2].stylize(_STYLES.get(str(row["state"]), ""))
                cells[5] = Text("–" if row["clock_ms"] is None else f"{int(str(row['clock_ms'])) / 1000:+.1f} s")
                table.add_row(*cells)
            output.console_on(stream).print(table)
    return 0


def _text(value: object) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "–" if value is None else str(value)

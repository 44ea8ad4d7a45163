"""`headrace agent validate`: everything that can be known of a configuration without shipping."""

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.agents.operate.place import add_overrides

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.agents.operate.findings import Finding
    from headrace.agents.operate.validate_files import Matched

_STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of `headrace agent validate`."""
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the agent's configuration")
    add_overrides(parser)
    parser.add_argument("--connect", action="store_true", help="ask the broker and the registry too (topics, rights)")
    parser.add_argument("--strict", action="store_true", help="a warning is an error")
    parser.add_argument("--format", choices=("table", "json"), default="table", help="default: %(default)s")


def run(args: argparse.Namespace) -> int:
    """Print what is found; 0 if the agent can run so, 2 if not."""
    from headrace.agents.configuration import load_agent_config
    from headrace.agents.operate.findings import of_faults
    from headrace.agents.operate.validate import findings_of, topic_keys
    from headrace.errors import ConfigError

    matched: list[Matched] = []
    try:
        loaded = load_agent_config(args.config, args.set, os.environ)
        matched, told = findings_of(loaded.config, connect=args.connect)
        found = [each.located(loaded.origin, topic_keys(loaded.config)) for each in told]
    except ConfigError as error:
        found = of_faults(error)
    bad = ("error", "warning") if args.strict else ("error",)
    valid = not any(each.severity in bad for each in found)
    (_print_json if args.format == "json" else _print_table)(matched, found, valid)
    return 0 if valid else 2


def _print_json(matched: "Sequence[Matched]", found: "Sequence[Finding]", valid: bool) -> None:
    for each in found:
        print(json.dumps(each.values()))
    inputs = [
        {"where": each.where, "topic": each.topic, "files": len(each.files), "bytes": each.size_bytes} for each in matched
    ]
    print(json.dumps({"valid": valid, "inputs": inputs}))


def _print_table(matched: "Sequence[Matched]", found: "Sequence[Finding]", valid: bool) -> None:
    from rich.text import Text

    from headrace.agents.operate.printing import console, counted, print_rows

    rows = [{"input": each.where, "topic": each.topic, "files": len(each.files), "bytes": each.size_bytes} for each in matched]
    print_rows(rows, "table", ("input", "topic", "files", "bytes"))
    print_rows([each.values() for each in found], "table", ("severity", "where", "what", "do"), _STYLES)
    verdict = ("valid", "bold green") if valid else ("not valid", "bold red")
    counts = (counted(sum(each.severity == kind for each in found), kind) for kind in ("error", "warning"))
    console().print(Text.assemble(verdict, f": {', '.join(counts)}"))

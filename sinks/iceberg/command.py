"""`headrace iceberg`: bring Iceberg tables up to the landed ones, once, and say where they stand."""

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.errors import HeadraceError, UsageError
from headrace.sinks.places import unknown_table

if TYPE_CHECKING:
    from headrace.sinks.iceberg.config import Iceberg
    from headrace.sinks.iceberg.tables import Projection

_ACTIONS = {
    "sync": "bring Iceberg tables up to the landed ones",
    "status": "say how far Iceberg tables are behind the landed ones",
    "drop": "take Iceberg tables out of the catalog; landed files stay, and the next sync makes the tables anew",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of `headrace iceberg`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, summary in _ACTIONS.items():
        action = actions.add_parser(name, help=summary, description=summary)
        action.add_argument("root", metavar="ROOT", help="the directory that `headrace load` writes to")
        action.add_argument(
            "--topic",
            action="append",
            metavar="TOPIC",
            required=name == "drop",
            help="this table (more may be given; default: all)",
        )
        action.add_argument("--config", metavar="FILE", help="the loader's configuration, for its load.iceberg")
        action.add_argument("--catalog", metavar="NAME", help="a catalog of pyiceberg's own configuration (.pyiceberg.yaml)")
        action.add_argument(
            "--property",
            action="append",
            metavar="KEY=VALUE",
            default=[],
            help="a property of the catalog, by pyiceberg's name; ${env:NAME} and ${file:PATH} are replaced",
        )
        action.add_argument("--namespace", metavar="NAME", help="the namespace of the tables (default: landed)")
        action.add_argument("--format", choices=("table", "json"), default="table", help="default: %(default)s")


def run(args: argparse.Namespace) -> int:
    """Do it table by table; exit status 1 if some table failed, which does not keep the others from being done."""
    from pyiceberg.catalog import list_catalogs

    from headrace.clock import SystemClock
    from headrace.sinks.iceberg.tables import Projection
    from headrace.sinks.table.reader import tables

    config, root = _config(args), args.root
    known = tables(root)
    strange = [topic for topic in args.topic or () if topic not in known]
    if strange and args.action != "drop":
        raise unknown_table(strange[0], known)
    topics = args.topic or [topic for topic in known if config.shows(topic)]
    if args.catalog and not config.properties and args.catalog not in (known_catalogs := list_catalogs()):
        raise UsageError(
            f"--catalog {args.catalog}: pyiceberg's configuration names no such catalog (it names: "
            f"{', '.join(sorted(known_catalogs)) or 'none'}); say what it is with --property, or in .pyiceberg.yaml"
        )
    projection = Projection(config, root, SystemClock())
    if strange:  # the landed table may be gone, and the Iceberg table there still
        there = projection.tables()
        if missing := next((topic for topic in strange if topic not in there), None):
            raise unknown_table(missing, {*known, *there})
    rows = [_row(args.action, projection, topic) for topic in topics]
    if args.format == "json":
        for row in rows:
            print(json.dumps(row))
    else:
        _print_table(rows)
    return 1 if any(row["error"] for row in rows) else 0


def _config(args: argparse.Namespace) -> "Iceberg":
    """What is given on the command line, over what the loader's configuration says."""
    from headrace.config import load_config
    from headrace.secret_references import References
    from headrace.sinks.config import LoadConfig
    from headrace.sinks.iceberg.config import Iceberg

    config = Iceberg()
    if args.config:
        loader = load_config(LoadConfig, Path(args.config), overrides=(), environment=os.environ)
        config = loader.load.iceberg or config
    given: dict[str, Any] = {}
    if args.property:
        pairs = [text.partition("=") for text in args.property]
        if wrong := next((key for key, equals, _ in pairs if not key or not equals), None):
            raise UsageError(f"--property {wrong}: write it as KEY=VALUE")
        references = References(os.environ)
        given["catalog"] = {
            **config.catalog,
            **{key: references.required(value, f"--property {key}") for key, _, value in pairs},
        }
    if args.catalog:
        given["name"] = args.catalog
    if args.namespace:
        given["namespace"] = args.namespace
    return config.model_copy(update=given)


def _row(action: str, projection: "Projection", topic: str) -> dict[str, Any]:
    row: dict[str, Any] = {"topic": topic, "seq": None, "behind": None, "files": None, "rows": None, "error": None}
    try:
        if action == "drop":
            projection.drop(topic)
            return row
        if action == "sync":
            done = projection.sync(topic)
            row |= {"added": done.added, "removed": done.removed}
        state = projection.state(topic)
    except HeadraceError as error:
        return row | {"error": str(error)}
    return row | {"seq": state.seq, "behind": state.behind, "files": state.files, "rows": state.rows}


def _print_table(rows: list[dict[str, Any]]) -> None:
    """One line a table; what went wrong below its line, and never cut."""
    width = max([5, *(len(row["topic"]) for row in rows)])
    print(f"{'topic':<{width}}  {'seq':>8}  {'behind':>8}  {'files':>8}  {'rows':>12}")
    for row in rows:
        cells = ["-" if row[key] is None else str(row[key]) for key in ("seq", "behind", "files", "rows")]
        print(f"{row['topic']:<{width}}  {cells[0]:>8}  {cells[1]:>8}  {cells[2]:>8}  {cells[3]:>12}")
        if row["error"]:
            print(f"  {row['error']}")

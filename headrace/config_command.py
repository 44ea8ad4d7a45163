"""`headrace config schema PART`: the JSON Schema of a part's configuration, for editors and for reading."""

import argparse
import difflib
import importlib
import json
from typing import Final

from headrace.errors import UsageError

_MODELS: Final = {
    "agent": ("headrace.agents.configuration", "AgentConfig"),
    "broker": ("headrace.broker.config", "BrokerConfig"),
    "load": ("headrace.sinks.config", "LoadConfig"),
    "registry": ("headrace.schemas.config", "RegistryConfig"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of `headrace config`."""
    actions = parser.add_subparsers(dest="action", metavar="schema", required=True)
    schema = actions.add_parser("schema", help="print the JSON Schema of a part's configuration")
    schema.add_argument("part", metavar="PART", help=", ".join(_MODELS))


def run(args: argparse.Namespace) -> int:
    """Print the schema of one part."""
    if args.part not in _MODELS:
        close = difflib.get_close_matches(args.part, _MODELS, n=1)
        meant = f"; did you mean {close[0]}?" if close else ""
        raise UsageError(f"no part {args.part!r}{meant} (parts: {', '.join(_MODELS)})")
    module, name = _MODELS[args.part]
    model = getattr(importlib.import_module(module), name)
    print(
        json.dumps(
            {"$schema": "https://json-schema.org/draft/2020-12/schema", **model.model_json_schema(by_alias=True)}, indent=2
        )
    )
    return 0

"""`headrace config schema PART`: the JSON Schema of a part's configuration; `config reference`: every key, for reading."""

import argparse
import difflib
import importlib
import json
from typing import TYPE_CHECKING, Final

from headrace.errors import UsageError

if TYPE_CHECKING:
    from headrace.config import Section

_MODELS: Final = {
    "agent": ("headrace.agents.configuration", "AgentConfig"),
    "audit": ("headrace.jobs.audit.config", "AuditConfig"),
    "broker": ("headrace.broker.config", "BrokerConfig"),
    "load": ("headrace.sinks.config", "LoadConfig"),
    "nightly": ("headrace.jobs.nightly.config", "NightlyConfig"),
    "registry": ("headrace.schemas.config", "RegistryConfig"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of `headrace config`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    schema = actions.add_parser("schema", help="print the JSON Schema of a part's configuration")
    schema.add_argument("part", metavar="PART", help=", ".join(_MODELS))
    actions.add_parser("reference", help="print every key of every part, with default and meaning (Markdown)")


def run(args: argparse.Namespace) -> int:
    """Print the schema of one part, or the reference of all."""
    if args.action == "reference":
        from headrace.config_reference import page

        print(page({part: _model(part) for part in _MODELS}), end="")
        return 0
    if args.part not in _MODELS:
        close = difflib.get_close_matches(args.part, _MODELS, n=1)
        meant = f"; did you mean {close[0]}?" if close else ""
        raise UsageError(f"no part {args.part!r}{meant} (parts: {', '.join(_MODELS)})")
    model = _model(args.part)
    print(
        json.dumps(
            {"$schema": "https://json-schema.org/draft/2020-12/schema", **model.model_json_schema(by_alias=True)}, indent=2
        )
    )
    return 0


def _model(part: str) -> "type[Section]":
    module, name = _MODELS[part]
    model: type[Section] = getattr(importlib.import_module(module), name)
    return model

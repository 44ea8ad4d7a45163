"""`headrace agent test`: fixtures beside a configuration, run through the real pipeline."""

import argparse
import difflib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.agents.operate.place import add_overrides
from headrace.errors import UsageError

if TYPE_CHECKING:
    from headrace.agents.operate.fixtures import Fixture, Outcome


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of `headrace agent test`."""
    parser.add_argument(
        "fixtures", nargs="*", type=Path, metavar="FIXTURES", help="default: CONFIG.tests.yaml beside CONFIG.yaml"
    )
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the agent's configuration")
    add_overrides(parser)
    parser.add_argument("--format", choices=("text", "json"), default="text", help="default: %(default)s")


def run(args: argparse.Namespace) -> int:
    """Run every fixture; 1 if one fails."""
    from headrace.agents.configuration import AgentConfig
    from headrace.agents.operate.fixtures import Fixtures, differences, outcome_of
    from headrace.config import load_config

    config = load_config(AgentConfig, args.config, overrides=args.set, environment=os.environ)
    failed = count = 0
    for file in args.fixtures or [_beside(args.config)]:
        for fixture in load_config(Fixtures, file, overrides=(), environment={}).tests:
            outcome = outcome_of(fixture, config)
            different = differences(fixture, outcome)
            count += 1
            failed += different is not None
            (_print_json if args.format == "json" else _print_text)(fixture, outcome, different)
    if args.format == "text":
        print(f"{count - failed} of {count} tests passed", file=sys.stderr)
    return 1 if failed else 0


def _beside(config: Path) -> Path:
    file = config.with_name(f"{config.stem}.tests.yaml")
    if not file.is_file():
        raise UsageError(f"there is no {file}; write fixtures there, or name a file of them (docs/guide.md shows one)")
    return file


def _diff(different: tuple[Sequence[str], Sequence[str]]) -> list[str]:
    return list(difflib.unified_diff(*different, "expected", "found", n=3, lineterm=""))


def _print_json(fixture: "Fixture", outcome: "Outcome", different: tuple[list[str], list[str]] | None) -> None:
    from headrace.agents.operate.fixtures import shown

    print(
        json.dumps(
            {
                "name": fixture.name,
                "passed": different is None,
                "events": [shown(event) for event in outcome.events],
                "left_out": outcome.left_out,
                "diff": [] if different is None else _diff(different),
            }
        )
    )


def _print_text(fixture: "Fixture", outcome: "Outcome", different: tuple[list[str], list[str]] | None) -> None:
    from rich.text import Text

    from headrace.agents.operate.printing import console, printable

    out = console()
    if fixture.expect is None:
        out.print(Text.assemble(("would be shipped: ", "cyan"), fixture.name))
        print(_as_fixture(outcome))
    elif different is None:
        out.print(Text.assemble(("passed: ", "green"), fixture.name))
    if different is None:
        return
    out.print(Text.assemble(("FAILED: ", "bold red"), fixture.name))
    for line in _diff(different):
        style = "green" if line.startswith("+") else "red" if line.startswith("-") else ""
        out.print(Text(printable(line), style=style), soft_wrap=True)


def _as_fixture(outcome: "Outcome") -> str:
    """What a fixture would say to expect this."""
    import yaml

    from headrace.agents.operate.fixtures import shown

    told = {"expect": [shown(event) for event in outcome.events], "left_out": sum(outcome.left_out.values())}
    return str(yaml.safe_dump(told, sort_keys=False, allow_unicode=True, width=1000)).rstrip()

"""Where `--live` finds the broker: in the loader's configuration, or in what is given instead of one."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.errors import ConfigError, UsageError
from headrace.process import data_directory

if TYPE_CHECKING:
    from headrace.sinks.config import LoadConfig


def add_live_arguments(parser: argparse.ArgumentParser) -> None:
    """Define what `--live` needs."""
    parser.add_argument("--live", action="store_true", help="add the rows that are still in the broker")
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="the loader's configuration: where the tables and the broker are"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override one key of the configuration")
    parser.add_argument("--bootstrap", metavar="HOST:PORT", help="with --live: the brokers, where there is no configuration")
    parser.add_argument("--registry", metavar="URL", help="with --bootstrap: the schema registry")


def refuse_without_live(args: argparse.Namespace) -> None:
    """Raises UsageError: an option is given that only `--live` asks for."""
    given = {"--config": args.config, "--set": args.set, "--bootstrap": args.bootstrap, "--registry": args.registry}
    if found := next((option for option, value in given.items() if value), None):
        raise UsageError(f"{found} says where the broker is, which only --live asks: add --live, or leave it away")


def live_config(args: argparse.Namespace, root: str) -> "LoadConfig":
    """The configuration by which the broker is asked.

    Raises:
        UsageError: there is none, or it is wrong.
    """
    if args.bootstrap is not None:
        if args.config is not None:
            raise UsageError("--bootstrap and --config both say where the broker is: give one of them")
        return config_of(root, args.bootstrap, args.registry)
    if args.registry is not None:
        raise UsageError("--registry goes with --bootstrap; a configuration has its own")
    if args.config is None and args.root is not None:
        raise UsageError("--live: with --root, name the loader's configuration (--config FILE) or the brokers (--bootstrap)")
    file = args.config or data_directory(args.data) / "etc" / "load.yaml"
    if not file.exists():
        raise UsageError(f"--live: {file}: no such file; name the loader's configuration with --config, or --bootstrap")
    return _loaded(file, args)


def _loaded(file: Path, args: argparse.Namespace) -> "LoadConfig":
    from headrace.config import load_config
    from headrace.sinks.config import LoadConfig

    return load_config(LoadConfig, file, overrides=args.set, environment=os.environ)


def config_of(root: str, bootstrap: str, registry: str | None) -> "LoadConfig":
    """What a loader would have to know of a broker.

    Raises:
        ConfigError: an option is wrong.
    """
    from pydantic import ValidationError

    from headrace.sinks.config import LoadConfig

    try:
        return LoadConfig.model_validate(
            {"load": {"root": root}, "kafka": {"bootstrap.servers": bootstrap}, "registry": registry}
        )
    except ValidationError as error:
        said = error.errors()[0]
        option = "--registry" if said["loc"][0] == "registry" else "--bootstrap"
        raise ConfigError(f"{option}: {said['msg']}") from error

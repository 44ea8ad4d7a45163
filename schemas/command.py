"""`headrace registry`: one schema registry as one process."""

import argparse

from headrace.part import add_part_arguments, begin

add_arguments = add_part_arguments


def run(args: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT."""
    from headrace.schemas.config import RegistryConfig
    from headrace.schemas.process import run_registry

    return run_registry(begin(RegistryConfig, args), args.run_file)

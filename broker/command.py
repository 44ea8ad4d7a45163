"""`headrace broker`: one broker as one process."""

import argparse

from headrace.part import add_part_arguments, begin

add_arguments = add_part_arguments


def run(args: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT."""
    from headrace.broker.config import BrokerConfig
    from headrace.broker.serve import serve

    return serve(begin(BrokerConfig, args), args.run_file)

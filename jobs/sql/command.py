"""`headrace query "SQL"`: ask SQL of landed tables, with nothing else running."""

import argparse

from headrace.errors import UsageError
from headrace.sinks.places import add_place_arguments, landed_root


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of `headrace query`."""
    parser.add_argument(
        "sql", metavar="SQL", help='one query; a topic is a table: SELECT count(*) FROM logs, or FROM "my-topic"'
    )
    add_place_arguments(parser)
    parser.add_argument("--format", choices=("table", "csv", "json", "parquet"), default="table", help="default: table")
    parser.add_argument("--output", metavar="FILE", help="write there instead of to standard output")


def run(args: argparse.Namespace) -> int:
    """Print the answer, or write it to a file."""
    from headrace.jobs import output
    from headrace.jobs.sql.query import ask

    file = output.checked_output(args.output)
    if args.format == "parquet" and file is None:
        raise UsageError("--format parquet is written to a file: add --output FILE.parquet")
    root = landed_root(args)
    with ask(root, args.sql) as reader:
        if args.format == "parquet":
            assert file is not None
            output.write_parquet(reader, file)
            return 0
        write = {"table": output.write_table, "csv": output.write_csv, "json": output.write_json}[args.format]
        with output.output_stream(file) as stream:
            write(reader.schema.names, output.rows_of(reader), stream)
    return 0

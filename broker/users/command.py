"""`headrace users`: who may log in, over the protocol (KIP-554), so on Apache Kafka too; or in a stopped broker's own store.

    headrace users list --bootstrap 127.0.0.1:9092
    headrace users create alice --config client.yaml              # librdkafka's keys, as any other client's
    headrace users create admin --broker-config broker.yaml       # the very first one, before the broker starts
    headrace users alter admin --data ./headrace-data             # while the broker is stopped

A password comes from `--password-file`, the environment, or the terminal: never from the command line, which all processes see.
"""

import argparse
import getpass
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.errors import UsageError
from headrace.secret_references import References

if TYPE_CHECKING:
    from headrace.broker.users.administration import UserAdministration

PASSWORD_VARIABLE = "HEADRACE_USER_PASSWORD"  # noqa: S105 - its name
MECHANISMS = ("SCRAM-SHA-256", "SCRAM-SHA-512")
_DEFAULT_ITERATIONS = 8192


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of `headrace users`."""
    actions = parser.add_subparsers(dest="action", metavar="list|create|alter|delete", required=True)
    for name, told in (
        ("list", "every user, with the mechanisms it has a password for"),
        ("create", "a new user"),
        ("alter", "a new password"),
        ("delete", "a user; it stays connected until its session ends"),
    ):
        # Nothing may be abbreviated: `--password x` would be taken for `--password-file x`, and the password shown as a file.
        action = actions.add_parser(name, help=told, description=told, allow_abbrev=False)
        if name != "list":
            action.add_argument("name", metavar="NAME", help="as in User:NAME of access rules")
        if name in ("create", "alter"):
            _add_password_arguments(action)
        _add_place_arguments(action)
        action.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error")


def _add_password_arguments(action: argparse.ArgumentParser) -> None:
    action.add_argument(
        "--password-file",
        type=Path,
        metavar="FILE",
        help=f"its first line is the password (default: ${PASSWORD_VARIABLE}, or asked for)",
    )
    action.add_argument(
        "--mechanism",
        choices=MECHANISMS,
        action="append",
        help="may be given again (default: both; the same password is good for PLAIN)",
    )
    action.add_argument(
        "--iterations",
        type=_iterations,
        default=_DEFAULT_ITERATIONS,
        metavar="N",
        help="4096 to 16384 (default: %(default)s)",
    )


def _iterations(text: str) -> int:
    from headrace.broker.security.scram import MAX_ITERATIONS, MIN_ITERATIONS

    if not text.isascii() or not text.isdigit() or not MIN_ITERATIONS <= int(text) <= MAX_ITERATIONS:
        raise argparse.ArgumentTypeError(f"must be {MIN_ITERATIONS} to {MAX_ITERATIONS}, as for Apache Kafka")
    return int(text)


def _add_place_arguments(action: argparse.ArgumentParser) -> None:
    place = action.add_mutually_exclusive_group()
    place.add_argument("--bootstrap", metavar="HOST:PORT", help="a broker (default: 127.0.0.1:9092)")
    place.add_argument("--config", type=Path, metavar="FILE", help="a client's settings, by librdkafka's keys (YAML)")
    place.add_argument("--data", type=Path, metavar="DIR", help="the data directory of a broker that has run, and is stopped")
    place.add_argument("--broker-config", type=Path, metavar="FILE", help="the configuration of a stopped broker")
    action.add_argument("--format", choices=("table", "json"), default="table", help="default: %(default)s")


def run(args: argparse.Namespace) -> int:
    """Do it; one line a user on stdout."""
    if args.action != "list" and not args.name:
        raise UsageError("the name is empty")
    password = _password(args) if args.action in ("create", "alter") else b""
    with _administration(args) as users:
        found = users.list()
        if args.action == "list":
            _print(found, args.format)
            if not found:
                print("no users", file=sys.stderr)
            return 0
        if args.action == "create" and args.name in found:
            raise UsageError(f"user {args.name} exists; give it a new password with: headrace users alter {args.name}")
        if args.action != "create" and args.name not in found:
            raise UsageError(f"there is no user {args.name}")
        if args.action == "delete":
            users.delete(args.name, list(found[args.name]))
        else:
            mechanisms = args.mechanism or (MECHANISMS if args.action == "create" else list(found[args.name]))
            users.put(args.name, password, mechanisms, args.iterations)
        _print({} if args.action == "delete" else {args.name: users.list()[args.name]}, args.format)
    return 0


def _administration(args: argparse.Namespace) -> "UserAdministration":
    from headrace.broker.users.administration import OverTheProtocol, of_stopped_broker

    if args.data is not None or args.broker_config is not None:
        return of_stopped_broker(args.data, args.broker_config, may_be_new=args.action == "create")
    if args.config is not None:
        return OverTheProtocol(_client_settings(args.config), str(args.config))
    return OverTheProtocol({"bootstrap.servers": args.bootstrap or "127.0.0.1:9092"})


def _client_settings(file: Path) -> dict[str, Any]:
    import yaml

    try:
        settings = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror or error}; name a readable file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: not YAML; write librdkafka's keys as `key: value`") from error
    if not isinstance(settings, dict):
        raise UsageError(f"{file}: write librdkafka's keys as `key: value`")
    return dict(References(os.environ).required(settings, str(file)))


def _password(args: argparse.Namespace) -> bytes:
    if args.password_file is not None:
        try:
            password: bytes = args.password_file.read_bytes().split(b"\n", 1)[0].removesuffix(b"\r")
        except OSError as error:
            raise UsageError(f"{args.password_file}: {error.strerror or error}; name a readable file") from error
    elif PASSWORD_VARIABLE in os.environ:
        password = os.environ[PASSWORD_VARIABLE].encode()
    elif sys.stdin.isatty():
        password = getpass.getpass(f"password of {args.name}: ").encode()
        if password != getpass.getpass("again: ").encode():
            raise UsageError("the two passwords differ; nothing was changed")
    else:
        raise UsageError(f"no password: give --password-file FILE, or ${PASSWORD_VARIABLE}")
    if not password:
        raise UsageError("the password is empty")
    return password


def _print(users: Mapping[str, Mapping[str, int]], form: str) -> None:
    if form == "json":
        for name, mechanisms in users.items():
            print(json.dumps({"user": name, "mechanisms": dict(mechanisms)}))
        return
    shown = {name if name.isprintable() else repr(name): mechanisms for name, mechanisms in users.items()}
    width = max([4, *map(len, shown)])
    if shown:
        print(f"{'USER':{width}}  MECHANISMS (ITERATIONS)")
    for name, mechanisms in shown.items():
        print(f"{name:{width}}  {', '.join(f'{mechanism} ({count})' for mechanism, count in mechanisms.items())}")

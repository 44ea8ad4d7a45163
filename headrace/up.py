"""`headrace up`: broker, registry, loader and an agent on this machine, kept running until SIGTERM or Ctrl-C."""

import argparse
import contextlib
import glob
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from headrace.errors import HeadraceError, UsageError
from headrace.process import DATA_VARIABLE, DEFAULT_DATA, data_directory, stop_event
from headrace.supervise import Layout, Supervisor, check_port_free, only_supervisor

_READY_TIMEOUT_S = 60.0
_WATCH_INTERVAL_S = 0.1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of `headrace up`."""
    parser.add_argument(
        "globs", nargs="*", metavar="GLOB", help="files to ship to topic `logs`; quote it, so that new files match too"
    )
    parser.add_argument(
        "--data", metavar="DIR", help=f"where everything is kept (default: ${DATA_VARIABLE} or ./{DEFAULT_DATA})"
    )
    add_security_argument(parser)
    for option, port, of in (
        ("--port", 9092, "the broker's port"),
        ("--registry-port", 8081, "the schema registry's port"),
        ("--http-port", 9600, "the port of the broker's /healthz and /metrics"),
    ):
        parser.add_argument(option, type=_port, metavar="PORT", default=port, help=f"{of} (default: {port})")


def add_security_argument(parser: argparse.ArgumentParser) -> None:
    """Define `--security`."""
    told = "on: TLS, a user for each part with the least rights, and one for you: DIR/broker/security has what clients need"
    parser.add_argument("--security", choices=("on", "off"), default="off", help=told)


def _port(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if not 0 < number < 65536:
        raise argparse.ArgumentTypeError(f"{text} is not a port (1 to 65535)")
    return number


def run(args: argparse.Namespace) -> int:
    """Start everything, print `ready`, and watch until asked to stop."""
    ports = {"--port": args.port, "--registry-port": args.registry_port, "--http-port": args.http_port}
    if len(set(ports.values())) < len(ports):
        raise UsageError(
            f"two of {', '.join(f'{option} {port}' for option, port in ports.items())} are the same; give each its own"
        )
    globs = _checked(args.globs)
    require_extra()
    layout = Layout(data_directory(args.data))
    layout.make()
    with only_supervisor(layout):
        check_port_free(args.port, "broker", "--port")
        check_port_free(args.registry_port, "registry", "--registry-port")
        check_port_free(args.http_port, "http", "--http-port")
        return _keep_running(layout, globs, args)


def require_extra() -> None:
    """
    Raises:
        ModuleNotFoundError: a library of the extra `demo` is missing (the command line names the extra).
    """
    from importlib.util import find_spec

    for module in ("aiohttp", "crc32c", "duckdb", "kio", "pyarrow"):
        if find_spec(module) is None:
            raise ModuleNotFoundError(name=module)


def _checked(globs: Sequence[str]) -> list[str]:
    """The GLOBs as absolute patterns; one that is also a file's very name stands for that file too.

    Raises:
        UsageError: one names what can never be shipped.
    """
    patterns = []
    for given in globs:
        path = Path(given).absolute()
        patterns.append(os.path.abspath(given))
        if not given or path.is_dir():
            raise UsageError(f"{given or 'an empty GLOB'} is a directory; name its files, as {given.rstrip('/') or '.'}/*.log")
        if path.exists():
            if not path.is_file():
                raise UsageError(f"{given} is not a regular file; name log files")
            if not os.access(path, os.R_OK):
                raise UsageError(f"{given} cannot be read; check its permissions")
            if glob.has_magic(patterns[-1]):
                patterns.append(glob.escape(patterns[-1]))
        elif not glob.has_magic(given):
            print(f"headrace up: {given} does not exist yet; it will be shipped when it does", file=sys.stderr)
    return patterns


def _keep_running(layout: Layout, globs: Sequence[str], args: argparse.Namespace) -> int:
    from headrace import pipeline

    stop = stop_event()
    supervisor = Supervisor(layout)
    secured = args.security == "on"
    broker = pipeline.broker_config(layout, port=args.port, http_port=args.http_port, secured=secured)
    keys = pipeline.part_keys(broker, port=args.port)
    supervisor.configure("broker", broker)
    supervisor.configure("registry", pipeline.registry_config(keys["registry"], port=args.registry_port))
    supervisor.configure("load", pipeline.load_config(layout, keys["load"], registry_port=args.registry_port))
    parts = ["broker", "registry", "load"]
    if globs:
        agent = pipeline.agent_config(layout, globs, keys["agent"], registry_port=args.registry_port)
        supervisor.configure("agent", agent)
        parts.append("agent")
    try:
        for part in parts:  # at once: each waits for those that it needs
            supervisor.start(part)
        supervisor.wait_ready(parts, timeout_s=_READY_TIMEOUT_S, stop=stop)
        if not stop.is_set():
            _announce(layout, globs, args)
        while not stop.wait(_WATCH_INTERVAL_S):
            for line in supervisor.revive():
                print(f"headrace up: {line}", file=sys.stderr, flush=True)
    finally:
        complaints = supervisor.stop()
        for line in complaints:
            with contextlib.suppress(BrokenPipeError):
                print(f"headrace up: {line}", file=sys.stderr, flush=True)
    if complaints:
        raise HeadraceError("not every part stopped cleanly; what they had not finished goes on at the next start")
    return 0


def _announce(layout: Layout, globs: Sequence[str], args: argparse.Namespace) -> None:
    http = "https" if args.security == "on" else "http"
    print(f"broker    127.0.0.1:{args.port} (Kafka protocol), {http}://127.0.0.1:{args.http_port}/metrics")
    if args.security == "on":
        print(f"log in    with {layout.broker}/security/client.yaml (librdkafka) or client.properties (Java)")
    print(f"registry  {http}://127.0.0.1:{args.registry_port}")
    print(f"agent     {' '.join(globs) if globs else 'none (no GLOB given)'}")
    print(f"landed    {layout.landed}")
    print(f"ask       headrace query --data {layout.root} 'SELECT count(*) FROM logs'")  # noqa: S608 - shown, not run
    print("ready", flush=True)

"""`headrace agent`: ship this host's logs, for ever, or with `--once` to their end; and what operators do with an agent."""

import argparse
import importlib
import logging
from collections.abc import Mapping
from typing import Final

from headrace.errors import UsageError
from headrace.part import add_part_arguments, begin_process

logger = logging.getLogger(__name__)
ACTIONS: Final = {
    "validate": ("headrace.agents.operate.validate_command", "say all that can be known of a configuration without shipping"),
    "test": ("headrace.agents.operate.fixtures_command", "run fixtures through the configuration's pipelines, and compare"),
    "tap": ("headrace.agents.operate.tap_command", "show what a running agent sends, while it sends it"),
    "top": ("headrace.agents.operate.top_command", "show a running agent's inputs, by the second"),
    "rejected": ("headrace.agents.operate.rejected_command", "list, show or replay what could not be shipped for what it is"),
    "state": ("headrace.agents.operate.state_command", "list, verify or forget what the agent remembers of files"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of `headrace agent`, and its commands."""
    add_part_arguments(parser, required=False)
    parser.add_argument("--once", action="store_true", help="ship every byte up to the files' ends, then exit")
    parser.add_argument("--progress", action="store_true", help="write one JSON object a second to standard output")
    actions = parser.add_subparsers(dest="action", metavar="|".join(ACTIONS))
    for name, (module, told) in ACTIONS.items():
        action = actions.add_parser(name, help=told, description=told)
        importlib.import_module(module).add_arguments(action)


def run(args: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT, or with `--once` until all is shipped; or carry out one of the commands."""
    if args.action is not None:
        status: int = importlib.import_module(ACTIONS[args.action][0]).run(args)
        return status
    if args.config is None:
        args.parser.error("the following arguments are required: --config")
    return _ship(args)


def _ship(args: argparse.Namespace) -> int:
    import signal
    import socket
    import threading
    import time
    import uuid

    reload = threading.Event()
    signal.signal(signal.SIGHUP, lambda *_: reload.set())  # before all else: by default it would end us

    from headrace.agents.checking import Checking

    begin_process(limit_log=True)
    checking = Checking(args.config, args.set)

    from headrace.agents.agent import Agent
    from headrace.agents.machine import machine_id
    from headrace.agents.operate.control import Control
    from headrace.agents.operate.reload import Reloads
    from headrace.agents.pulse import Pulse
    from headrace.agents.state import AgentState
    from headrace.clock import SystemClock
    from headrace.health import Health
    from headrace.part_http import serve_part_http
    from headrace.process import raise_descriptor_limit, run_file, stop_event, writable_directory, write_run_file
    from headrace.systemd import notify

    config = checking.result()
    raise_descriptor_limit()
    stop = stop_event()
    directory = writable_directory(config.agent.state_dir, "agent.state_dir")
    host = config.agent.host or socket.gethostname()
    state = AgentState(directory, machine_id=machine_id(), host=host, new_agent_id=str(uuid.uuid4()))
    health = Health(time.monotonic)
    clock = SystemClock()
    ports = serve_part_http(config.agent, config.kafka, health, clock)
    beat = Pulse(health, clock).beat

    def ports_changed(pushed: Mapping[str, int]) -> None:
        try:
            write_run_file(args.run_file, {**ports, **pushed})
        except UsageError as error:
            logger.error("the run file is not written", extra={"error": str(error)})

    agent = Agent(
        config,
        state,
        host=host,
        clock=clock,
        beat=beat,
        ports_changed=ports_changed,
        once=args.once,
        progress=args.progress,
    )
    health.not_ready(agent.topics.why_not_ready)
    health.not_alive(agent.why_not_alive)
    control = Control(directory, agent.taps, {"host": host, "agent_id": state.agent_id})
    pushed = agent.start()
    control.start()
    with run_file(args.run_file, {**ports, **pushed}):
        notify("READY=1")  # also without a broker: files are their own buffer
        status = agent.run(stop, Reloads(lambda: Checking(args.config, args.set).result(), config, reload, agent.metrics))
    control.close()
    state.close()
    return status

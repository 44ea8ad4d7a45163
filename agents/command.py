"""`headrace agent`: ship log files of this host, for ever, or with `--once` to their end."""

import argparse

from headrace.part import add_part_arguments, begin


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of `headrace agent`."""
    add_part_arguments(parser)
    parser.add_argument("--once", action="store_true", help="ship every byte up to the files' ends, then exit")
    parser.add_argument("--progress", action="store_true", help="write one JSON object a second to standard output")


def run(args: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT, or with `--once` until all is shipped."""
    import socket
    import time
    import uuid

    from headrace.agents.agent import Agent
    from headrace.agents.configuration import AgentConfig
    from headrace.agents.machine import machine_id
    from headrace.agents.state import AgentState
    from headrace.clock import SystemClock
    from headrace.health import Health
    from headrace.part_http import serve_part_http
    from headrace.process import run_file, stop_event, writable_directory

    config = begin(AgentConfig, args, limit_log=True)
    stop = stop_event()
    directory = writable_directory(config.agent.state_dir, "agent.state_dir")
    host = config.agent.host or socket.gethostname()
    state = AgentState(directory, machine_id=machine_id(), host=host, new_agent_id=str(uuid.uuid4()))
    health = Health(time.monotonic)
    clock = SystemClock()
    ports = serve_part_http(config.agent, config.kafka, health, clock)
    agent = Agent(config, state, host=host, clock=clock, once=args.once, progress=args.progress)
    health.not_ready(agent.topics.why_not_ready)
    with run_file(args.run_file, ports):
        status = agent.run(stop)
    state.close()
    return status

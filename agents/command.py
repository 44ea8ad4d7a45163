"""`headrace agent`: ship log files of this host, for ever, or with `--once` to their end."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the agent's configuration (YAML)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override one key of it")
    parser.add_argument("--run-file", type=Path, metavar="FILE", help="where to write process id and ports when ready")
    parser.add_argument("--once", action="store_true", help="ship every byte up to the files' ends, then exit")
    parser.add_argument("--progress", action="store_true", help="write one JSON object a second to standard output")


def run(args: argparse.Namespace) -> int:
    import os
    import socket
    import uuid

    from headrace.agents.agent import Agent, machine_id
    from headrace.agents.configuration import AgentConfig, host_and_port
    from headrace.agents.state import AgentState
    from headrace.clock import SystemClock
    from headrace.config import load_config
    from headrace.http import serve_http
    from headrace.logs import log_to_stderr
    from headrace.process import die_with_parent, run_file, stop_event, writable_directory

    config = load_config(AgentConfig, args.config, overrides=args.set, environment=os.environ)
    die_with_parent()
    log_to_stderr()
    stop = stop_event()
    directory = writable_directory(config.agent.state_dir, "agent.state_dir")
    host = config.agent.host or socket.gethostname()
    state = AgentState(directory, machine_id=machine_id(), host=host, new_agent_id=str(uuid.uuid4()))
    ports = {"http": serve_http(*host_and_port(config.agent.http))} if config.agent.http else {}
    agent = Agent(config, state, host=host, clock=SystemClock(), once=args.once, progress=args.progress)
    with run_file(args.run_file, ports):
        status = agent.run(stop)
    state.close()
    return status

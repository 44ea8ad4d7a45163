"""An agent as a process: what is opened, in which order, and closed again."""

import argparse
import logging
import socket
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from headrace import __version__
from headrace.agents.agent import Agent
from headrace.agents.checking import Checking
from headrace.agents.machine import machine_id
from headrace.agents.operate.control import Control
from headrace.agents.operate.reload import Reloads
from headrace.agents.pulse import Pulse
from headrace.agents.room import Wait, WaitForRoom, never, with_room
from headrace.agents.state import AgentState
from headrace.clock import SystemClock
from headrace.errors import NoRoomError, UsageError
from headrace.health import Health
from headrace.part_http import serve_part_http
from headrace.process import raise_descriptor_limit, run_file, stop_event, writable_directory, write_run_file
from headrace.systemd import notify

if TYPE_CHECKING:
    from headrace.agents.configuration import AgentConfig

logger = logging.getLogger(__name__)


def ship(args: argparse.Namespace, checking: Checking, reload: Event) -> int:
    """Ship until SIGTERM or SIGINT, or with `--once` until all is shipped; the exit status.

    Args:
        reload: is set when the configuration is to be read again.
    """
    config = checking.result()
    raise_descriptor_limit()
    stop = stop_event()
    host = config.agent.host or socket.gethostname()
    health, clock = Health(time.monotonic), SystemClock()
    beat = Pulse(health, clock).beat
    serve = cache(partial(serve_part_http, config.agent, config.kafka, health, clock))
    room = WaitForRoom(stop, health, serve, beat)
    wait = never if args.once else room

    def ports_changed(pushed: Mapping[str, int]) -> None:
        try:
            write_run_file(args.run_file, {**serve(), **pushed})
        except UsageError as error:
            logger.error("the run file is not written", extra={"error": str(error)})

    make = partial(
        Agent, host=host, clock=clock, beat=beat, ports_changed=ports_changed, wait=wait, once=args.once, progress=args.progress
    )  # fmt: skip
    with ExitStack() as opened:
        try:
            state = _opened(config.agent.state_dir, host, wait)
            opened.callback(state.close)
            ports = serve()
            agent = make(config, state)
        except NoRoomError:
            if not stop.is_set():
                raise
            return 0
        room.over()
        health.not_ready(agent.topics.why_not_ready)
        health.not_alive(agent.why_not_alive)
        control = Control(config.agent.state_dir, agent.taps, {"host": host, "agent_id": state.agent_id})
        opened.callback(control.close)
        pushed = agent.start()
        control.start()
        with run_file(args.run_file, {**ports, **pushed}):
            notify("READY=1")  # also without a broker: files are their own buffer
            if not args.once:
                about = {"version": __version__, "host": host, "agent_id": state.agent_id, "inputs": len(config.inputs)}
                logger.info("ready", extra={**about, "state_dir": str(config.agent.state_dir), "ports": {**ports, **pushed}})
            return agent.run(stop, Reloads(_reader(args), config, reload, agent.metrics))


def _opened(place: Path, host: str, wait: Wait) -> AgentState:
    directory = with_room(lambda: writable_directory(place, "agent.state_dir"), place, wait)
    return AgentState(directory, machine_id=machine_id(), host=host, new_agent_id=str(uuid.uuid4()), wait=wait)


def _reader(args: argparse.Namespace) -> "Callable[[], AgentConfig]":
    return lambda: Checking(args.config, args.set).result()

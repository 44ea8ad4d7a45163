"""What `headrace agent validate` knows of pushed inputs: whether ports and sockets are free, certificates and commands there.

Nothing is listened at. An agent that runs on the state directory holds what it listens at itself: then that is a note, so that
a configuration can be looked at before it is reloaded.
"""

import errno
import os
import shutil
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from headrace.agents.configuration import AgentConfig, InputSection
from headrace.agents.operate.findings import Finding, Severity
from headrace.agents.operate.state_file import is_in_use
from headrace.agents.sources.doors import LONGEST_PATH_BYTES, Door, is_listened_at
from headrace.errors import UsageError
from headrace.https import server_context


def pushed_findings(config: AgentConfig) -> Iterator[Finding]:
    """Of all that are pushed."""
    runs = is_in_use(config.agent.state_dir)
    for index, each in enumerate(config.inputs):
        where = f"inputs.{index}.{each.kind}"
        yield from _of_programs(each, where)
        yield from _of_certificates(each, where)
        for door in each.doors(each.kind):
            yield from _of_door(door, where, agent_runs=runs)


def _of_programs(section: InputSection, where: str) -> Iterator[Finding]:
    if section.exec is not None:
        keys = section.exec
        path = {**os.environ, **keys.environment}.get("PATH")
        if shutil.which(keys.command[0], path=path) is None:
            yield Finding("error", f"{where}.command", f"there is no program {keys.command[0]}", "name one that can be run")
        if keys.directory is not None and not keys.directory.is_dir():
            yield Finding("error", f"{where}.directory", f"there is no directory {keys.directory}", "name one, or none")
    if section.journald is not None and shutil.which(section.journald.journalctl) is None:
        what = f"there is no program {section.journald.journalctl}"
        yield Finding("error", f"{where}.journalctl", what, "install systemd's, or name it")


def _of_certificates(section: InputSection, where: str) -> Iterator[Finding]:
    listening = section.syslog or section.http
    if listening is not None:
        try:
            server_context(listening.ssl_keystore_location, listening.ssl_key_password, listening.ssl_truststore_location)
        except UsageError as error:
            yield Finding.of_error(where, error, "name PEM files that the agent's user may read")


def _of_door(door: Door, where: str, *, agent_runs: bool) -> Iterator[Finding]:
    taken: Severity = "note" if agent_runs else "error"
    ours = "perhaps by the agent that runs" if agent_runs else "choose another"
    if isinstance(door.at, Path):
        yield from _of_path(door, door.at, where, taken, ours)
    elif door.at.port:
        try:
            kind = socket.SOCK_STREAM if door.kind == "tcp" else socket.SOCK_DGRAM
            family, _, protocol, _, address = socket.getaddrinfo(door.at.host, door.at.port, type=kind)[0]
            with socket.socket(family, kind, protocol) as sock:
                if door.kind == "tcp":
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind(address)
        except OSError as error:
            in_use = error.errno == errno.EADDRINUSE
            do = ours if in_use else "choose an address of this machine, and a port that the agent's user may listen at"
            yield Finding(taken if in_use else "error", where, f"{door.shown}: {error.strerror or error}", do)


def _of_path(door: Door, path: Path, where: str, taken: Severity, ours: str) -> Iterator[Finding]:
    folder = path.parent
    if len(os.fsencode(path)) > LONGEST_PATH_BYTES:
        told = f"{door.shown}: a socket's path has at most {LONGEST_PATH_BYTES} bytes"
        yield Finding("error", where, told, "choose a shorter path")
    elif not folder.is_dir():
        yield Finding("error", where, f"{door.shown}: there is no directory {folder}", "make it, or choose another path")
    elif not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
        yield Finding("error", where, f"{door.shown}: {folder} is not ours to write", "give it to the agent's user")
    elif path.exists() and not stat.S_ISSOCK(path.stat().st_mode):
        yield Finding("error", where, f"{door.shown}: there is something else than a socket", "choose another path")
    elif is_listened_at(path, socket.SOCK_STREAM if door.kind == "stream" else socket.SOCK_DGRAM):
        yield Finding(taken, where, f"{door.shown}: somebody listens there", ours)

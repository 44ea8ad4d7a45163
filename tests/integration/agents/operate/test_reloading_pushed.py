"""SIGHUP, as processes, for inputs that are pushed: they come, go and change under load, and nothing is lost or sent twice.

HEADRACE_RELOADS says how often an agent is reloaded under load.
"""

import datetime
import http.client
import itertools
import json
import os
import random
import socket
import ssl
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.broker.security.certificates import new_authority, sign
from tests.integration.agents.operate.test_reloading import reload
from tests.integration.agents.rig import TOPIC, Rig
from tests.processes import Part, free_port
from tests.waiting import until

RELOADS = int(os.environ.get("HEADRACE_RELOADS", "12"))
PAUSE_S = 0.01  # of a sender


def agent_of(parts: Rig, *inputs: dict[str, Any]) -> Part:
    section = {"state_dir": str(parts.directory / "agent"), "http": "127.0.0.1:0", "grace_ms": 5000}
    return parts.agent(agent=section, inputs=list(inputs))


def answer(agent: Part, path: str) -> str:
    return str(urllib.request.urlopen(f"http://127.0.0.1:{agent.ports['http']}{path}").read().decode())


def count(agent: Part, outcome: str) -> int:
    name = f'headrace_agent_config_reloads_total{{outcome="{outcome}"}} '
    found = [line.removeprefix(name) for line in answer(agent, "/metrics").splitlines() if line.startswith(name)]
    return round(float(found[0])) if found else 0


def reloaded(agent: Part, *inputs: dict[str, Any], outcome: str = "applied") -> None:
    """Reload, and wait until that is done."""
    before = count(agent, outcome)
    reload(agent, *inputs)
    until(lambda: count(agent, outcome) > before)


def post(port: int, body: bytes) -> int:
    """The status of the answer; raises OSError or HTTPException where there is none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", "/logs", body, {"Content-Type": "text/plain"})
        return connection.getresponse().status
    finally:
        connection.close()


class Senders:
    """Real peers, each on a thread and with connections of its own, and all that they have sent."""

    def __init__(self, *sends: Callable[["Senders", str], None]) -> None:
        self.sent: list[bytes] = []
        self.stop = threading.Event()
        self._numbers = itertools.count()
        self._threads = [threading.Thread(target=each, args=(self, str(index))) for index, each in enumerate(sends)]

    def lines(self, name: str, count: int) -> list[bytes]:
        return [f"<14>1 - h {name} - - - {next(self._numbers)}".encode() for _ in range(count)]

    def __enter__(self) -> "Senders":
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for each in self._threads:
            each.join()


def over_tcp(port: int) -> Callable[[Senders, str], None]:
    """One connection for ever, as rsyslog holds it; what it has sent cannot be asked for again."""

    def send(senders: Senders, name: str) -> None:
        with socket.create_connection(("127.0.0.1", port)) as stream:
            while not senders.stop.wait(PAUSE_S):
                lines = senders.lines(name, 5)
                stream.sendall(b"".join(line + b"\n" for line in lines))
                senders.sent += lines

    return send


def over_udp(port: int) -> Callable[[Senders, str], None]:
    def send(senders: Senders, name: str) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            while not senders.stop.wait(PAUSE_S):
                (line,) = senders.lines(name, 1)
                sock.sendto(line, ("127.0.0.1", port))
                senders.sent.append(line)

    return send


def over_unix(path: Path) -> Callable[[Senders, str], None]:
    def send(senders: Senders, name: str) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.connect(str(path))
            while not senders.stop.wait(PAUSE_S):
                (line,) = senders.lines(name, 1)
                sock.send(line)
                senders.sent.append(line)

    return send


def by_posts(port: int) -> Callable[[Senders, str], None]:
    """A connection that is kept; what is not answered with success is posted again, on a new one."""

    def send(senders: Senders, name: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        while not senders.stop.wait(PAUSE_S):
            lines = senders.lines(name, 5)
            status = 0
            while status != 200:
                try:
                    connection.request("POST", "/logs", b"\n".join(lines), {"Content-Type": "text/plain"})
                    answer = connection.getresponse()
                    answer.read()
                    status = answer.status
                except (OSError, http.client.HTTPException):
                    connection.close()
            senders.sent += lines
        connection.close()

    return send


def test_reloads_under_load_of_real_senders_lose_nothing_and_repeat_nothing(tmp_path: Path, parts: Rig) -> None:
    tcp, udp, web, path = free_port(), free_port(), free_port(), tmp_path / "in.sock"

    def syslog(**keys: Any) -> dict[str, Any]:
        shipped = {key: keys.pop(key) for key in ("parse", "spool", "service") if key in keys}
        section = {"tcp": f"127.0.0.1:{tcp}", "udp": f"127.0.0.1:{udp}", **keys}
        return {"syslog": section, "topic": TOPIC, "name": "sys", **shipped}

    def posts(**keys: Any) -> dict[str, Any]:
        shipped = {key: keys.pop(key) for key in ("parse", "spool", "service") if key in keys}
        return {"http": {"listen": f"127.0.0.1:{web}", **keys}, "topic": TOPIC, "name": "web", **shipped}

    def unix(**keys: Any) -> dict[str, Any]:
        return {"unix": {"path": str(path), "type": "datagram", **keys}, "topic": TOPIC, "name": "local"}

    other = {"syslog": {"tcp": "127.0.0.1:0"}, "topic": TOPIC, "name": "other"}
    command = {"exec": {"command": ["sleep", "60"]}, "topic": TOPIC, "name": "command"}
    choices: list[list[dict[str, Any]]] = [
        [syslog(), posts(), unix()],
        [syslog(max_message_bytes=2048), posts(max_body_bytes=65536), unix(), other],
        [syslog(parse="plain", max_connections=9), posts(service="shop"), unix(mode="0600"), command],
        [syslog(spool={"max_bytes": 1 << 24}), posts(parse="json", max_connections=9), unix(), other, command],
        [unix(), posts(spool={"when_full": "drop_newest"}), syslog(udp_buffer_bytes=1 << 20, service="all")],
    ]
    agent = agent_of(parts, *choices[0]).start()
    rng = random.Random(7)
    with Senders(over_tcp(tcp), over_tcp(tcp), over_udp(udp), over_unix(path), by_posts(web), by_posts(web)) as senders:
        until(lambda: len(senders.sent) > 100)
        for _ in range(RELOADS):
            reloaded(agent, *rng.choice(choices))
            time.sleep(rng.random() / 50)
    parts.wait_for(len(senders.sent), timeout_s=60)
    assert agent.stop() == 0, agent.log_tail()
    found = Counter(event["message"].encode() for event in parts.events())
    assert found == Counter(senders.sent)
    assert "has failed" not in agent.log_file.read_text()
    parts.check_audit()


@pytest.mark.slow
def test_an_agent_killed_while_what_is_pushed_is_reloaded_keeps_all_that_was_answered_for(parts: Rig) -> None:
    web = free_port()
    choices = [
        [{"http": {"listen": f"127.0.0.1:{web}"}, "topic": TOPIC, "name": "web", "parse": parse, "spool": {"max_bytes": size}}]
        for parse, size in (("plain", 1 << 22), ("json", 1 << 24))
    ]
    agent = agent_of(parts, *choices[0])
    for round_ in range(3):
        agent.start()
        with Senders(by_posts(web)) as senders:
            for number in range(6):
                reload(agent, *choices[number % 2])
                time.sleep(0.02 * round_ + 0.01)
            sent = list(senders.sent)
            senders.stop.set()
        agent.kill()
    agent.start()
    until(lambda: {line.decode() for line in sent} <= {event["message"] for event in parts.distinct()})
    assert agent.stop() == 0, agent.log_tail()
    parts.check_audit()


def test_a_port_that_is_taken_refuses_the_reload_as_a_whole(tmp_path: Path, parts: Rig) -> None:
    port = free_port()
    first = {"syslog": {"tcp": "127.0.0.1:0"}, "topic": TOPIC, "name": "sys"}
    agent = agent_of(parts, first).start()
    before = agent.ports
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        moved = {"syslog": {"tcp": f"127.0.0.1:{free_port()}"}, "topic": TOPIC, "name": "sys"}
        stranger = {"http": {"listen": f"127.0.0.1:{port}"}, "topic": "others", "name": "web"}
        socket_of_ours = {"unix": {"path": str(tmp_path / "in.sock")}, "topic": TOPIC, "name": "local"}
        reloaded(agent, socket_of_ours, moved, stranger, outcome="refused")
    assert f"http 127.0.0.1:{port}: Address already in use" in agent.log()
    assert agent.ports == before
    assert "the configuration cannot be used, and the old one goes on" in agent.log()
    assert not (tmp_path / "in.sock").exists(), "what was opened for the reload is shut again"
    assert sorted(path.name for path in (parts.directory / "agent" / "spool").iterdir()) == [f"sys@{TOPIC}"]
    with socket.create_connection(("127.0.0.1", agent.ports["sys.tcp"])) as stream:
        stream.sendall(b"<14>1 - h a - - - as before\n")
    parts.wait_for(1)
    reloaded(agent, moved, {**stranger, "http": {"listen": f"127.0.0.1:{port}"}})
    assert agent.ports == {**before, "sys.tcp": int(moved["syslog"]["tcp"].rpartition(":")[2]), "web.http": port}  # type: ignore[index]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", before["sys.tcp"]))
    assert post(port, b"by http") == 200
    until(lambda: len(parts.records("others")) == 1)
    assert agent.stop() == 0, agent.log_tail()


def test_what_goes_is_shipped_to_its_end_and_what_comes_takes_its_port(parts: Rig) -> None:
    """An input without a name is another one when its topic changes: its spool is read on, its port goes over."""
    port = free_port()
    agent = agent_of(parts, {"syslog": {"tcp": f"127.0.0.1:{port}"}, "topic": TOPIC}).start()
    stream = socket.create_connection(("127.0.0.1", port))
    stream.sendall(b"".join(b"<14>1 - h a - - - %d\n" % number for number in range(5000)))
    until(lambda: parts.count() > 0)
    reloaded(agent, {"syslog": {"tcp": f"127.0.0.1:{port}"}, "topic": "others"})
    assert stream.recv(1) == b"", "its senders are hung up on, once what they have sent is read"
    stream.close()
    with socket.create_connection(("127.0.0.1", port)) as again:
        again.sendall(b"<14>1 - h a - - - to the other\n")
    parts.wait_for(5000)
    until(lambda: len(parts.records("others")) == 1)
    assert agent.stop() == 0, agent.log_tail()
    assert len(parts.events()) == 5000


@pytest.mark.slow
def test_an_agent_of_files_takes_in_what_a_reload_pushes_and_no_more_after_another(parts: Rig) -> None:
    (parts.logs / "a.log").write_bytes(b"from a file\n")
    files = {"tail": [str(parts.logs / "*.log")], "topic": TOPIC}
    ticking = {
        "exec": {"command": ["sh", "-c", "echo begun; exec sleep 60"]}, "topic": TOPIC, "name": "tick",
    }  # fmt: skip
    agent = agent_of(parts, files).start()
    parts.wait_for(1)
    reloaded(agent, files, ticking)
    parts.wait_for(2)
    reloaded(agent, files, {**ticking, "service": "clock"})
    reloaded(agent, files, {**ticking, "exec": {"command": ["no-such-program"]}}, outcome="refused")
    assert "there is no program no-such-program" in agent.log()
    assert parts.count() == 2, "the command is run on where nothing of it changes"
    reloaded(agent, files, {**ticking, "exec": {"command": ["sh", "-c", "echo anew; exec sleep 60"]}})
    parts.wait_for(3)
    reloaded(agent, files)
    with (parts.logs / "a.log").open("ab") as file:
        file.write(b"another\n")
    parts.wait_for(4)
    assert agent.stop() == 0, agent.log_tail()
    assert parts.lines() == [b"anew", b"another", b"begun", b"from a file"]
    parts.check_audit()


def test_standard_input_waits_for_a_restart_and_is_read_on(parts: Rig) -> None:
    ours, theirs = os.pipe()
    agent = agent_of(parts, {"stdin": {}, "topic": TOPIC, "name": "pipe"}).start(stdin=ours)
    os.close(ours)
    os.write(theirs, b"one\nhalf of ")
    parts.wait_for(1)
    web = {"http": {"listen": "127.0.0.1:0"}, "topic": TOPIC, "name": "web"}
    reloaded(agent, web)
    assert "inputs (stdin)" in agent.log()
    os.write(theirs, b"a line\n")
    assert post(agent.ports["web.http"], b"posted") == 200
    parts.wait_for(3)
    os.close(theirs)
    assert agent.stop() == 0, agent.log_tail()
    assert parts.lines() == [b"half of a line", b"one", b"posted"]


@pytest.mark.slow
def test_a_new_certificate_is_used_and_one_that_cannot_be_refuses_the_reload(tmp_path: Path, parts: Rig) -> None:
    now = datetime.datetime.now(datetime.UTC)
    authorities = [new_authority(name, now=now) for name in ("first", "second")]
    keystore, trusted = tmp_path / "server.pem", tmp_path / "authorities.pem"
    trusted.write_bytes(b"".join(authority.certificate_pem for authority in authorities))
    keys = {"tls": "127.0.0.1:0", "ssl.keystore.location": str(keystore)}
    inputs = {"syslog": keys, "topic": TOPIC, "name": "sys"}

    def issue(number: int) -> None:
        keystore.write_bytes(sign(authorities[number], "localhost", ["localhost", "127.0.0.1"], now=now).pem)

    def issuer(port: int) -> str:
        context = ssl.create_default_context(cafile=trusted)
        with (
            socket.create_connection(("127.0.0.1", port), 10) as raw,
            context.wrap_socket(raw, server_hostname="localhost") as tls,
        ):
            tls.sendall(b"<14>1 - h a - - - over tls\n")
            return json.dumps(tls.getpeercert(), default=str)

    issue(0)
    agent = agent_of(parts, inputs).start()
    port = agent.ports["sys.tls"]
    assert '"first"' in issuer(port)
    issue(1)
    reloaded(agent, inputs)
    assert '"second"' in issuer(port)
    keystore.write_bytes(b"none")
    reloaded(agent, inputs, outcome="refused")
    assert "ssl.keystore.location" in agent.log()
    assert '"second"' in issuer(port), "the old one is used on"
    parts.wait_for(3)
    assert agent.stop() == 0, agent.log_tail()

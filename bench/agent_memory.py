"""What an agent holds in memory, by what it takes in: with one line shipped, and at most while it works as fast as it can.

    python -m bench.agent_memory [INPUT …] [--lines N] [--port] [--json]

Resident memory as the kernel counts it (/proc/PID/status, MB of 10^6): `peak` is VmHWM. `own` is RssAnon at most, looked at
every 10 ms; the rest are pages of programs and libraries in files, which all processes share. `started` is the time from exec
to the first record acknowledged. Broker and registry run on one core, the agent on the other. http and OTLP are posted by
four clients at a time, in bodies of 3 MB (OTLP: records with four attributes); `refused` counts answers to come again (503).
journald's entries have seven fields, and journalctl, which reads them, is a process of its own, not in these figures.
With `--port` the agent answers /metrics and is asked once a second, as Prometheus would more seldom.
"""

import argparse
import http.client
import json
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.agent_peers import TOPIC
from bench.agents import Topic, write_lines
from tests.integration.agents.rig import Rig, rig, servers
from tests.integration.agents.sources.test_journald import Journal
from tests.processes import Part, free_port

_AGENT_CORE, _OTHER_CORE = 0, 1
_CLIENTS, _BODIES = 4, 6
_STALL_S = 10
_RECORDS = {False: 8192, True: 4096}  # of OTLP in a body, by whether it is JSON
_ENTRIES = 1000
_GIVE_UP_S = 120


class Watch:
    """The memory of one process, looked at until it is told to stop."""

    def __init__(self, pid: int, metrics_port: int | None) -> None:
        self._status, self._over = Path(f"/proc/{pid}/status"), threading.Event()
        self._metrics_port = metrics_port
        self._scrape()
        self.own_kb = self.peak_kb = 0
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def now(self, key: str) -> int:
        """One of its figures, KiB."""
        return int(self._status.read_text().split(f"{key}:")[1].split()[0])

    def _scrape(self) -> None:
        if self._metrics_port is not None:
            connection = http.client.HTTPConnection("127.0.0.1", self._metrics_port, timeout=10)
            connection.request("GET", "/metrics")
            connection.getresponse().read()
            connection.close()

    def _look(self) -> None:
        looks = 0
        while not self._over.wait(0.01):
            self.own_kb = max(self.own_kb, self.now("RssAnon"))
            looks += 1
            if looks % 100 == 0:
                self._scrape()

    def stop(self) -> None:
        """The last look."""
        self._over.set()
        self._thread.join()
        self.own_kb, self.peak_kb = max(self.own_kb, self.now("RssAnon")), self.now("VmHWM")


@dataclass
class Run:
    """One agent at work: what it is given, and what is counted beside memory."""

    parts: Rig
    topic: Topic
    lines: int
    metrics_port: int | None = None
    port: int = field(default_factory=free_port)
    refused: int = 0

    def file(self, count: int, *, as_json: bool, name: str = "more.log") -> None:
        """Lines beside the one that is there, in a file that is there at once; the agent tails `*.log`."""
        made = self.parts.directory / "made"
        write_lines(made, count, as_json=as_json)
        made.rename(self.parts.logs / name)

    def wait_for(self, count: int, *, pause_s: float = 0.02) -> None:
        """Until so many records are acknowledged."""
        deadline_s = time.monotonic() + _GIVE_UP_S
        while (found := self.topic.end()) < count:
            assert time.monotonic() < deadline_s, f"{found} of {count} records came"
            time.sleep(pause_s)

    def posted(self, path: str, kind: str, body: bytes) -> None:
        """The same body from each client, so often; one that is refused is posted again when it is told to."""

        def post() -> None:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            left = _BODIES
            while left:
                try:
                    connection.request("POST", path, body, {"Content-Type": kind})
                    answer = connection.getresponse()
                    answer.read()
                except OSError:
                    connection.close()
                    continue
                if answer.status == 503:
                    self.refused += 1
                    time.sleep(float(answer.headers["Retry-After"]))
                else:
                    assert answer.status == 200, answer.reason
                    left -= 1

        clients = [threading.Thread(target=post) for _ in range(_CLIENTS)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()


def otlp_body(*, as_json: bool) -> bytes:
    """Records of 200 bytes with four attributes each, 3 MB of them."""
    from google.protobuf.json_format import MessageToJson
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

    request = ExportLogsServiceRequest()
    resource_logs = request.resource_logs.add()
    resource_logs.resource.attributes.append(KeyValue(key="service.name", value=AnyValue(string_value="shop")))
    records = resource_logs.scope_logs.add().log_records
    for number in range(_RECORDS[as_json]):
        record = records.add(time_unix_nano=1_795_680_000_000_000_000 + number, severity_number=9, severity_text="INFO")
        record.body.string_value = f"seq={number:09} ".ljust(200, "x")
        for name in ("http.route", "user.name", "thread.name", "code.function"):
            record.attributes.append(KeyValue(key=name, value=AnyValue(string_value=f"{name} {number % 997}")))
    return MessageToJson(request, indent=None, use_integers_for_enums=True).encode() if as_json else request.SerializeToString()


def _tail(*, as_json: bool) -> Callable[[Run], int]:
    def feed(run: Run) -> int:
        run.file(run.lines, as_json=as_json)
        return run.lines

    return feed


def _stalled(run: Run) -> int:
    run.file(run.lines, as_json=False)
    time.sleep(1)
    os.kill(run.parts.broker.pid, signal.SIGSTOP)
    time.sleep(_STALL_S)
    os.kill(run.parts.broker.pid, signal.SIGCONT)
    return run.lines


def _stdin(run: Run) -> int:
    made = run.parts.directory / "made"
    write_lines(made, run.lines, as_json=False)
    with made.open("rb") as lines, open(run.parts.directory / "pipe", "wb") as pipe:
        while block := lines.read(1 << 16):
            pipe.write(block)
    return run.lines


def _syslog(run: Run) -> int:
    line = b"<14>1 2026-03-04T05:06:07.000Z host app 1 - - ".ljust(199, b"x") + b"\n"

    def send(count: int) -> None:
        with socket.create_connection(("127.0.0.1", run.port)) as connection:
            for _ in range(count // 100):
                connection.sendall(line * 100)

    return _by_clients(run, send)


def _by_clients(run: Run, send: Callable[[int], None]) -> int:
    clients = [threading.Thread(target=send, args=(run.lines // _CLIENTS,)) for _ in range(_CLIENTS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    return run.lines // _CLIENTS // 100 * 100 * _CLIENTS


def _exec(run: Run) -> int:
    run.file(run.lines, as_json=False, name="said")
    return run.lines


def _unix(run: Run) -> int:
    def send(count: int) -> None:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(run.parts.directory / "door"))
            for _ in range(count // 100):
                connection.sendall((b"x" * 199 + b"\n") * 100)

    return _by_clients(run, send)


def _http(run: Run) -> int:
    line = json.dumps({"level": "info", "user": "u1", "msg": "x" * 160}).encode() + b"\n"
    count = 3_000_000 // len(line)
    run.posted("/logs", "application/x-ndjson", line * count)
    return count * _CLIENTS * _BODIES


def _otlp(*, as_json: bool) -> Callable[[Run], int]:
    def feed(run: Run) -> int:
        run.posted("/v1/logs", f"application/{'json' if as_json else 'x-protobuf'}", otlp_body(as_json=as_json))
        return _RECORDS[as_json] * _CLIENTS * _BODIES

    return feed


def _journal(run: Run) -> Journal:
    """With one entry: an empty one is asked for once a minute."""
    journal = Journal(run.parts.directory / "journal")
    journal.write("first", range(1))
    return journal


def _journald(run: Run) -> int:
    made = Journal(run.parts.directory / "made")
    for begin in range(1, 1 + run.lines, _ENTRIES):  # what writes them takes long for many at a time
        made.write("more", range(begin, min(begin + _ENTRIES, 1 + run.lines)), MESSAGE=b"x" * 200)
    (made.directory / "more.journal").rename(run.parts.directory / "journal" / "more.journal")
    return 1 + run.lines


_SAY = 'until [ -e "$1" ]; do sleep 0.1; done; cat "$1"; sleep 1000'
_PUSHED: dict[str, Callable[[Run], dict[str, Any]]] = {
    "stdin": lambda _: {"stdin": {}},
    "exec": lambda run: {"exec": {"command": ["sh", "-c", _SAY, "sh", str(run.parts.logs / "said")]}},
    "unix": lambda run: {"unix": {"path": str(run.parts.directory / "door")}},
    "syslog": lambda run: {"syslog": {"tcp": f"127.0.0.1:{run.port}"}},
    "http": lambda run: {"http": {"listen": f"127.0.0.1:{run.port}"}},
    "otlp": lambda run: {"http": {"listen": f"127.0.0.1:{run.port}"}},
    "otlp-json": lambda run: {"http": {"listen": f"127.0.0.1:{run.port}"}},
    "journald": lambda run: {"journald": {"directory": str(_journal(run).directory)}},
}
FEEDS: dict[str, Callable[[Run], int]] = {
    "plain": _tail(as_json=False),
    "json": _tail(as_json=True),
    "stdin": _stdin,
    "exec": _exec,
    "unix": _unix,
    "syslog": _syslog,
    "http": _http,
    "otlp": _otlp(as_json=False),
    "otlp-json": _otlp(as_json=True),
    "journald": _journald,
    "stalled": _stalled,
}


@contextmanager
def _agent(run: Run, kind: str) -> Iterator[tuple[Part, float]]:
    """An agent that has just shipped a line; and how long that took from its exec."""
    (run.parts.logs / "first.log").write_text("the first line\n")
    parse = {"parse": "json"} if kind == "json" else {}
    inputs = [{"tail": [str(run.parts.logs / "*.log")], "topic": TOPIC, **parse}]
    if kind in _PUSHED:
        inputs.append({**_PUSHED[kind](run), "topic": TOPIC})
    agent = {"state_dir": str(run.parts.directory / f"agent-{kind}"), "grace_ms": 5000}
    if run.metrics_port is not None:
        agent["http"] = f"127.0.0.1:{run.metrics_port}"
    part = run.parts.agent(inputs=inputs, agent=agent)
    stdin = None
    if kind == "stdin":
        os.mkfifo(run.parts.directory / "pipe")
        stdin = os.open(run.parts.directory / "pipe", os.O_RDONLY | os.O_NONBLOCK)
        os.set_blocking(stdin, True)
    os.sched_setaffinity(0, {_AGENT_CORE})
    began_s = time.monotonic()
    part.start(stdin=stdin, wait=False)
    os.sched_setaffinity(0, {_OTHER_CORE})
    try:
        run.wait_for(1, pause_s=0.002)
        yield part, time.monotonic() - began_s
    finally:
        part.stop()


def measure(kind: str, root: Path, running: tuple[Part, Part], lines: int, *, with_port: bool) -> dict[str, Any]:
    """One row."""
    folder = root / kind
    folder.mkdir()
    with rig(folder, running) as parts:
        run = Run(parts, Topic(parts.bootstrap), lines, free_port() if with_port else None)
        with _agent(run, kind) as (part, started_s):
            time.sleep(1)
            watch = Watch(part.pid, run.metrics_port)
            rest = {key: watch.now(key) for key in ("VmRSS", "RssAnon")}
            began_s = time.monotonic()
            run.wait_for(1 + FEEDS[kind](run))
            took_s = time.monotonic() - began_s
            watch.stop()
    return {
        "input": kind,
        "started_s": round(started_s, 2),
        "rest_mb": _mb(rest["VmRSS"]),
        "rest_own_mb": _mb(rest["RssAnon"]),
        "peak_mb": _mb(watch.peak_kb),
        "own_mb": _mb(watch.own_kb),
        "seconds": round(took_s, 1),
        "refused": run.refused,
    }


def _mb(kib: int) -> float:
    return round(kib * 1024 / 1e6, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("inputs", nargs="*", metavar="INPUT", help=", ".join(FEEDS))
    parser.add_argument("--lines", type=int, default=300_000)
    parser.add_argument("--port", action="store_true", help="the agent has its HTTP port, and is asked for its metrics")
    parser.add_argument("--json", action="store_true", help="one JSON object a run on stdout")
    args = parser.parse_args()
    os.sched_setaffinity(0, {_OTHER_CORE})
    rows = []
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name, ExitStack() as stack:
        running = stack.enter_context(servers(Path(name)))
        for kind in args.inputs or FEEDS:
            rows.append(measure(kind, Path(name), running, args.lines, with_port=args.port))
            if args.json:
                print(json.dumps(rows[-1]), flush=True)
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console().print(table)


if __name__ == "__main__":
    main()

"""A real broker and registry that are fuzzed, and what must never be seen of them: a traceback, a hang, memory that grows."""

import json
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from headrace.schemas.client import RegistryClient
from tests.integration.broker.bad_peers import resident_bytes
from tests.integration.broker.requests import create_topic
from tests.integration.groups.wire_client import WireClient
from tests.processes import Part, broker, registry

API_VERSIONS = 18
_ANSWER_S = 0.02  # what may still be answered then is not waited for: the connection is closed, and nothing may be left of it
_CLOSE_S = 10


def fuzzed_broker(directory: Path, **config: Any) -> Part:
    """A broker that keeps little, so that what grows is not its logs."""
    keeps = {"log_retention_bytes": 1 << 20, "log_segment_bytes": 1 << 18}
    part = broker(directory, **keeps, group_initial_rebalance_delay_ms=0, **config).start()
    with WireClient(part.ports["kafka"]) as client:
        create_topic(client, "plain")
        create_topic(client, "compacted", cleanup_policy="compact")
        create_topic(client, "wide", partitions=40)
    return part


@contextmanager
def fuzzed_registry(directory: Path) -> Iterator[Part]:
    """A registry with a schema, whose broker nobody else knows."""
    with broker(directory) as kafka, registry(directory, f"127.0.0.1:{kafka.ports['kafka']}") as part:
        RegistryClient(f"http://127.0.0.1:{part.ports['http']}").register("a-value", '"long"')
        yield part


def converse(part: Part, pieces: Sequence[bytes]) -> bool:
    """Send it all on one connection; whether the part has closed it once we said that nothing more comes."""
    port = part.ports["http" if part.part == "registry" else "kafka"]
    with socket.create_connection(("127.0.0.1", port), timeout=_CLOSE_S) as sock:
        try:
            for piece in pieces:
                sock.sendall(piece)
            sock.settimeout(_ANSWER_S)
            try:
                while sock.recv(1 << 16):
                    pass
                return True
            except TimeoutError:
                sock.settimeout(_CLOSE_S)
                sock.shutdown(socket.SHUT_WR)
            while sock.recv(1 << 16):
                pass
        except TimeoutError:
            return False
        except OSError:  # reset, in one way or another
            pass
    return True


def assert_alive(part: Part) -> None:
    """It answers somebody else, soon."""
    assert part.process is not None
    assert part.process.poll() is None, part.log_tail()
    began = time.monotonic()
    if part.part == "registry":
        assert RegistryClient(f"http://127.0.0.1:{part.ports['http']}").subjects() is not None
    else:
        with WireClient(part.ports["kafka"]) as client:
            assert client.call(API_VERSIONS, 0, {}).error_code == 0
    assert time.monotonic() - began < 15, "it took too long to answer"


def faults(part: Part) -> list[str]:
    """Tracebacks in its log."""
    found = []
    for line in part.log_file.read_text(errors="replace").splitlines():
        if "Traceback" in line or "handler failed" in line or '"level": "error"' in line:
            try:
                said = json.loads(line)
                found.append(f"{said['msg']}: {said.get('api', '')} {said.get('exception', said.get('traceback', ''))}")
            except ValueError:
                found.append(line)
    return found


def memory_mb(part: Part) -> float:
    return resident_bytes(part) / 1e6

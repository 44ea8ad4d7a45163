"""Ten thousand failed logins, by names that exist and names that do not: who is logged in, and who logs in, notices little."""

import asyncio
import struct
import time
from pathlib import Path

import pytest

from tests.integration.broker.bad_peers import resident_bytes
from tests.integration.broker.requests import metadata
from tests.integration.groups.wire_client import WireClient
from tests.integration.security.sasl_wire import log_in, port_of, put_user, secured

FAILURES, AT_ONCE = 10_000, 100


def _frame(api_key: int, version: int, body: bytes) -> bytes:
    header = struct.pack(">hhihs", api_key, version, 1, 1, b"f")
    return struct.pack(">i", len(header) + len(body)) + header + body


async def _fail(port: int, name: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    token = f"\0{name}\0wrong".encode()
    writer.write(_frame(17, 1, struct.pack(">h5s", 5, b"PLAIN")) + _frame(36, 0, struct.pack(">i", len(token)) + token))
    answers = await reader.read()
    assert struct.pack(">h", 58) in answers  # SASL_AUTHENTICATION_FAILED
    writer.close()


async def _flood(port: int, done: asyncio.Event) -> None:
    async def worker(first: int) -> None:
        for number in range(first, FAILURES, AT_ONCE):
            await _fail(port, "alice" if number % 2 else f"nobody-{number}")

    await asyncio.gather(*[worker(first) for first in range(AT_ONCE)])
    done.set()


async def _measure(port: int, done: asyncio.Event) -> tuple[list[float], list[float]]:
    """Seconds of requests of a client that is logged in, and of logins with the right password, while the flood lasts."""
    requests, logins = [], []
    with WireClient(port) as client:
        assert log_in(client, "SCRAM-SHA-256", "bob", "builder").error_code == 0
        while not done.is_set():
            begun = time.monotonic()
            await asyncio.to_thread(metadata, client)
            requests.append(time.monotonic() - begun)
            begun = time.monotonic()
            assert await asyncio.to_thread(_logs_in, port)
            logins.append(time.monotonic() - begun)
            await asyncio.sleep(0.05)
    return requests, logins


def _logs_in(port: int) -> bool:
    with WireClient(port) as client:
        return bool(log_in(client, "SCRAM-SHA-256", "bob", "builder").error_code == 0)


@pytest.mark.slow
def test_others_go_on_and_memory_stays(tmp_path: Path) -> None:
    with secured(tmp_path) as part:
        put_user(part, "alice", "wonderland")
        put_user(part, "bob", "builder")
        port = port_of(part, "SASL_PLAINTEXT")

        async def run() -> tuple[list[float], list[float]]:
            done = asyncio.Event()
            flood = asyncio.create_task(_flood(port, done))
            measured = await _measure(port, done)
            await flood
            return measured

        before = resident_bytes(part)
        requests, logins = asyncio.run(run())
        for what, seconds in (("requests", requests), ("logins", logins)):
            seconds.sort()
            middle, worst = seconds[len(seconds) // 2] * 1000, seconds[-1] * 1000
            print(f"{what}: {len(seconds)}, median {middle:.1f} ms, worst {worst:.1f} ms")
        assert requests[len(requests) // 2] < 0.2
        assert logins[len(logins) // 2] < 0.5
        assert resident_bytes(part) - before < 30_000_000
        assert part.log_file.read_text().count("login failed") < 200

"""Any bytes end in an answer or a closed connection: never in a traceback, a hang, or memory that grows.

`make fuzz` runs the same for as long as one likes. A conversation that once did harm is replayed here (`seeds/`, one file each,
its pieces one after another with their sizes).
"""

import contextlib
import socket
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.broker.handlers.table import APIS
from headrace.broker.wire.frames import FrameReader
from headrace.broker.wire.header import parse_header
from headrace.broker.wire.pages import ReceiveMemory
from headrace.broker.wire.schema import request_codec
from headrace.errors import PeerError
from tests.fuzz.generate import conversation, damaged, request
from tests.fuzz.target import assert_alive, converse, faults, fuzzed_broker, memory_mb
from tests.processes import Part, free_port

SEEDS = sorted((Path(__file__).parent / "seeds").glob("*.bin"))
GROWTH_MB = 25


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Part]:
    running = fuzzed_broker(tmp_path_factory.mktemp("fuzzed"), http=f"127.0.0.1:{free_port()}")
    yield running
    running.stop()


@pytest.mark.parametrize("seed", SEEDS, ids=lambda path: path.stem)
def test_what_once_did_harm_does_none(part: Part, seed: Path) -> None:
    assert converse(part, pieces_of(seed.read_bytes()))
    assert_alive(part)
    assert faults(part) == []


@pytest.mark.slow
def test_conversations_of_every_api_do_no_harm(part: Part) -> None:
    with ThreadPoolExecutor(8) as pool:
        closed = list(pool.map(lambda number: converse(part, conversation(Random(number))), range(100)))
        warm_mb = memory_mb(part)
        closed += pool.map(lambda number: converse(part, conversation(Random(number))), range(100, 250))
    assert [number for number, done in enumerate(closed) if not done] == []
    assert_alive(part)
    assert faults(part) == []
    assert memory_mb(part) < warm_mb + GROWTH_MB


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, (1 << 62) - 1), st.booleans())
def test_a_request_is_decoded_or_refused(seed: int, whole: bool) -> None:
    rng = Random(seed)
    frame = request(rng) if whole else damaged(rng, request(rng))
    with contextlib.suppress(PeerError):
        header = parse_header(frame)
        api = APIS.get(header.api_key)
        if api is not None and api.min_version <= header.api_version <= api.max_version:
            codec = request_codec(header.api_key, header.api_version, (api.min_version, api.max_version))
            codec.decode(frame, header.body_position)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=8), st.lists(st.integers(1, 60), min_size=1, max_size=20))
def test_bytes_cut_anywhere_are_frames_or_an_error(pieces: list[bytes], cuts: list[int]) -> None:
    data, reader = b"".join(pieces), FrameReader(1 << 20, ReceiveMemory())
    taken = 0
    try:
        for cut in cuts * (1 + len(data) // sum(cuts)):
            piece, data = data[:cut], data[cut:]
            reader.buffer()[: len(piece)] = piece
            reader.received(len(piece))
            while (frame := reader.take()) is not None:
                taken += 4 + len(frame)
            reader.settle()
    except PeerError:
        return
    assert taken + reader.held_bytes <= sum(map(len, pieces))


@pytest.mark.parametrize(
    "sent",
    [
        b"\0" * 100,
        b"GET",
        b"GET /metrics HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n",
        b"POST /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"".join(b"h%d: x\r\n" % number for number in range(1000)) + b"\r\n",
        b"GET /metrics?name[]=%ff%00 HTTP/9.9\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nAccept-Encoding: gzip, \xff\r\nAccept: \xff;q=x\r\n\r\n",
        b"\xff\xfe / HTTP/1.1\r\n\r\n",
    ],
)
def test_the_http_port_answers_or_closes_whatever_it_is_sent(part: Part, sent: bytes) -> None:
    with (
        socket.create_connection(("127.0.0.1", part.ports["http"]), timeout=15) as sock,
        contextlib.suppress(ConnectionError),  # it may have heard enough before we have said it all
    ):
        _say_and_hear(sock, sent)
    with socket.create_connection(("127.0.0.1", part.ports["http"]), timeout=15) as sock:
        began = time.monotonic()
        sock.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert b"200 OK" in sock.recv(65536)
        assert time.monotonic() - began < 15
    assert faults(part) == []


def _say_and_hear(sock: socket.socket, sent: bytes) -> None:
    sock.sendall(sent)
    with contextlib.suppress(OSError):  # not connected any more
        sock.shutdown(socket.SHUT_WR)
    while sock.recv(65536):
        pass


def pieces_of(stored: bytes) -> list[bytes]:
    pieces = []
    while stored:
        (size,) = struct.unpack_from(">i", stored)
        pieces.append(stored[4 : 4 + size])
        stored = stored[4 + size :]
    return pieces

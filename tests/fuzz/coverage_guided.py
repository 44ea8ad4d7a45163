"""Coverage-guided fuzzing of what parses untrusted bytes, with atheris where that is installed (it is no dependency):

    pip install atheris; python -m tests.fuzz.coverage_guided -max_total_time=300

Frames, request headers, claims, decoding, and record batches with what is inside of them. Whatever is not refused by an error
of ours is a crash; libFuzzer writes the input beside it. Found so or not, `tests/fuzz/seeds` is where it belongs.
"""

import contextlib
import sys
import time

import atheris

with atheris.instrument_imports(include=["headrace.broker.wire", "headrace.broker.log"]):
    from headrace.broker.handlers.table import APIS
    from headrace.broker.log.appending import inspected
    from headrace.broker.log.batch import Rejection, check_batch
    from headrace.broker.log.config import broker_defaults
    from headrace.broker.wire.frames import FrameReader
    from headrace.broker.wire.header import parse_header
    from headrace.broker.wire.pages import ReceiveMemory
    from headrace.broker.wire.schema import request_codec
    from headrace.errors import HeadraceError, PeerError

CONFIG = broker_defaults({"cleanup.policy": "compact", "compression.type": "zstd"})
SHARED = ReceiveMemory()
LONGEST_S = 2.0
NOW_MS = 1_700_000_000_000


def one(data: bytes) -> None:
    """One input: a connection's bytes, and the same bytes as a batch."""
    began = time.monotonic()
    with contextlib.suppress(PeerError):
        _converse(data)
    with contextlib.suppress(HeadraceError):
        _inspect(data)
    if time.monotonic() - began > LONGEST_S:
        raise RuntimeError("it takes too long")


def _converse(data: bytes) -> None:
    reader = FrameReader(1 << 20, SHARED)
    while data:
        room = reader.buffer()
        taken = data[: len(room)]
        room[: len(taken)] = taken
        reader.received(len(taken))
        while (frame := reader.take()) is not None:
            _decode(frame)
        reader.settle()
        data = data[len(taken) :]


def _decode(frame: bytes | memoryview) -> None:
    header = parse_header(frame)
    api = APIS.get(header.api_key)
    if api is not None and api.min_version <= header.api_version <= api.max_version:
        codec = request_codec(header.api_key, header.api_version, (api.min_version, api.max_version))
        codec.decode(frame, header.body_position)


def _inspect(data: bytes) -> None:
    batch = memoryview(data)
    header = check_batch(batch, config=CONFIG, now_ms=NOW_MS, origin="client")
    if not isinstance(header, Rejection):
        inspected((batch, header), CONFIG, now_ms=NOW_MS)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()

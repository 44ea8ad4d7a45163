"""A large frame is received in turns: who sends much is not read again before others have been served."""

import asyncio
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from headrace.broker.network.connection import Connection
from headrace.broker.network.endpoint import Endpoint
from headrace.broker.network.server import Server
from headrace.broker.network.turns import Share
from tests.integration.node import HandClock, Node


class Transport(asyncio.Transport):
    """The other end is the test."""

    def __init__(self) -> None:
        super().__init__()
        self.is_read = True

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 54321) if name == "peername" else default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.is_read = False

    def resume_reading(self) -> None:
        self.is_read = True


class Busy:
    """Somebody who always has more to do."""

    def __init__(self) -> None:
        self.share, self.is_in_line, self.turns = Share(), False, 0

    def take_turn(self, until_ns: int, *, is_alone: bool) -> bool:
        self.turns += 1
        return True


@contextmanager
def connected(directory: Path) -> Iterator[tuple[Server, Connection, Transport]]:
    with Node(directory, HandClock()).running() as (broker, _):
        server, transport = Server(broker), Transport()
        connection = Connection(server, Endpoint("PLAINTEXT", ("127.0.0.1", 1)))
        connection.connection_made(transport)
        yield server, connection, transport


def receive(connection: Connection, data: bytes) -> None:
    room = connection.get_buffer(-1)
    assert len(room) >= len(data)
    room[: len(data)] = data
    connection.buffer_updated(len(data))


def test_what_is_left_of_a_large_frame_is_read_when_others_have_been_served(tmp_path: Path) -> None:
    async def steps() -> None:
        with connected(tmp_path) as (server, connection, transport):
            busy = Busy()
            server.turns.ask(busy)
            receive(connection, struct.pack(">i", 1_000_000) + bytes(10_000))
            assert transport.is_read, "a frame has begun, of which more may be there"
            receive(connection, bytes(200_000))
            assert not transport.is_read
            served = busy.turns
            for _ in range(1000):
                if not transport.is_read:
                    await asyncio.sleep(0)
            assert transport.is_read
            assert busy.turns > served
            receive(connection, bytes(1000))
            assert transport.is_read, "little came: more is hardly there"

    asyncio.run(steps())

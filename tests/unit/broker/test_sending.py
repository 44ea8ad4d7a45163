"""Small answers are kept back while more are to come, and leave in order and together."""

import asyncio
from typing import cast

from headrace.broker.network.sending import PIECE_BYTES, Sender
from headrace.broker.telemetry.metrics import Metrics


class Wire:
    """A transport that takes everything at once."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []

    def set_write_buffer_limits(self, high: int) -> None:
        assert high == PIECE_BYTES

    def write(self, data: bytes) -> None:
        self.writes.append(bytes(data))

    def is_closing(self) -> bool:
        return False


def sender(wire: Wire) -> Sender:
    return Sender(cast("asyncio.Transport", wire), Metrics(), lambda: None)


def test_what_is_held_over_several_turns_leaves_in_one_write_and_in_order() -> None:
    wire = Wire()
    out = sender(wire)
    for number in range(3):
        out.hold()  # each turn says so again
        out.send([b"%d" % number])
    assert wire.writes == []
    out.release()
    assert wire.writes == [b"012"]
    out.send([b"3"])
    assert wire.writes == [b"012", b"3"]


def test_what_is_large_is_not_kept_back() -> None:
    wire = Wire()
    out = sender(wire)
    out.hold()
    out.send([b"a"])
    out.send([bytes(PIECE_BYTES)])
    assert [len(write) for write in wire.writes] == [PIECE_BYTES + 1]
    out.send([b"b"])
    assert len(wire.writes) == 1
    out.release()
    assert wire.writes[1] == b"b"

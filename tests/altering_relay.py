"""A relay before a broker that changes records on their way, and makes the CRC of their batch right or not."""

import socket
from collections.abc import Callable, Iterator, Sequence

from headrace.broker.log.batch import HEADER_SIZE, is_whole_batch, parse_header
from headrace.broker.log.record import Record, build_batch, records
from tests.relay import Relay

Change = Callable[[Sequence[Record], int], Sequence[Record]]
"""A batch's records, and which of them is meant → those that are passed on; they take as many bytes."""


class AlteringRelay(Relay):
    """`alter` is given each whole request, or each whole answer, to change it in place."""

    def __init__(self, alter: Callable[[bytearray], None], *, answers: bool) -> None:
        self._alter, self._answers = alter, answers
        super().__init__()

    def _pieces(self, source: socket.socket, *, is_answer: bool) -> Iterator[bytes]:
        if is_answer is not self._answers:
            yield from super()._pieces(source, is_answer=is_answer)
            return
        while len(size := _read(source, 4)) == 4:
            frame = bytearray(size + _read(source, int.from_bytes(size, "big")))
            self._alter(frame)
            yield bytes(frame)


def _read(source: socket.socket, size: int) -> bytes:
    """So many bytes, or fewer where they end."""
    data = bytearray()
    while len(data) < size and (piece := source.recv(size - len(data))):
        data += piece
    return bytes(data)


def flip(frame: bytearray, text: bytes) -> bool:
    """Change a bit in a record that has a text in it; whether there was one."""
    at = frame.find(text)
    if at >= 0:
        frame[at + len(text) - 1] ^= 1
    return at >= 0


def reseal(frame: bytearray, text: bytes, change: Change) -> bool:
    """Put other records in the place of those of a batch of which one has a text in it, with the right CRC."""
    at = frame.find(text)
    if at < 0:
        return False
    start, end = _batch_around(frame, at)
    header = parse_header(frame, start)
    before = list(records(bytes(frame[start:end])))
    (meant,) = (number for number, record in enumerate(before) if text in (record.value or b""))
    batch = build_batch(
        change(before, meant),
        base_offset=header.base_offset,
        attributes=header.attributes,
        leader_epoch=header.leader_epoch,
        producer_id=header.producer_id,
        producer_epoch=header.producer_epoch,
        base_sequence=header.base_sequence,
    )
    assert len(batch) == end - start, "it takes other room"
    frame[start:end] = batch
    return True


def _batch_around(frame: bytearray, at: int) -> tuple[int, int]:
    """From where to where the batch goes that has these bytes in it; its CRC says that it is one."""
    view = memoryview(bytes(frame))
    for start in range(at - HEADER_SIZE, -1, -1):
        header = parse_header(view, start)
        if start + header.size > at and is_whole_batch(view, header, start):
            return start, start + header.size
    raise AssertionError("no batch is around it")

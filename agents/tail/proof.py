"""Whether an open file holds a stream's bytes: by fingerprints for its own, byte for byte for a copy. Pure steps (effects.py).

What is proved is held: the stream reads on from it. A read that fails decides nothing.
"""

from headrace.agents.effects import Read, Steps
from headrace.agents.tail.identity import GUARD_BYTES, HEAD_BYTES, FileStat, digest, running_hash
from headrace.agents.tail.stream import Stream

_BLOCK_BYTES = 256 * 1024


def verify(stream: Stream, handle: int, stat: FileStat) -> Steps[bool | None]:
    """Whether an open file is the stream's own: size, birth time, head and the bytes before the position are as saved.

    The stream holds the file if so. None: the system fails.
    """
    row = stream.row
    if stat.size < max(row.position, row.size_seen) or (row.birth_ns and stat.birth_ns and row.birth_ns != stat.birth_ns):
        return False
    return (yield from hold_if_proved(stream, handle))


def hold_if_proved(stream: Stream, handle: int) -> Steps[bool | None]:
    """Whether the head of an open file and its bytes before the position are as saved; as `verify` otherwise."""
    row = stream.row
    head = yield Read(handle, 0, HEAD_BYTES)
    length = min(GUARD_BYTES, row.position)
    guard = yield Read(handle, row.position - length, length)
    if head is None or guard is None:
        return None
    if len(head) < row.head_bytes:
        return False
    if row.head_bytes and digest(head[: row.head_bytes]) != row.head:
        return False
    if row.position and digest(guard) != row.guard:
        return False
    stream.hold(handle, guard, head[: min(HEAD_BYTES, stream.read_to)])
    return True


def copies(stream: Stream, handle: int, size: int) -> Steps[bool | None]:
    """Whether an open file holds all the stream's bytes up to where it is read, and may continue it.

    The stream holds the file if so. A stream of which nothing was sent is not continued: a new one says the same. One of which
    nothing is known to have arrived is, by its head alone: what was on its way is compared before it is sent again. What was
    passed over before its first byte (`begin`) is known by its head and its last bytes. None: the system fails.
    """
    if size < stream.read_to or not (stream.read_to or stream.replay):
        return False
    head = yield Read(handle, 0, HEAD_BYTES)
    if head is None:
        return None
    if digest(head[: stream.row.head_bytes]) != stream.row.head:
        return False
    at, crc = stream.row.begin, 0
    guard = yield Read(handle, max(0, at - GUARD_BYTES), min(GUARD_BYTES, at))
    if guard is None:
        return None
    if at and at == stream.row.position and digest(guard) != stream.row.guard:
        return False
    while at < stream.read_to:
        block = yield Read(handle, at, min(_BLOCK_BYTES, stream.read_to - at))
        if not block:
            return None if block is None else False
        crc = running_hash(block, crc)
        guard = (guard + block)[-GUARD_BYTES:]
        at += len(block)
    if crc != stream.crc:
        return False
    stream.hold(handle, guard, head[: min(HEAD_BYTES, stream.read_to)])
    return True

"""What tells a topic that was created again from the one that landed: its last record (landing.md, Topic created again)."""

from typing import Protocol

import xxhash


class Fingerprinted(Protocol):
    def timestamp(self) -> tuple[int, int]: ...
    def key(self) -> bytes | None: ...
    def value(self) -> bytes | None: ...


def fingerprint(message: Fingerprinted) -> str:
    """xxh64 over the Kafka timestamp (ms) and the bytes of key and value, told apart from each other and from null; hex."""
    digest = xxhash.xxh64(str(message.timestamp()[1]).encode())
    for data in (message.key(), message.value()):
        digest.update(f"/{-1 if data is None else len(data)}/".encode())
        digest.update(data or b"")
    return digest.hexdigest()

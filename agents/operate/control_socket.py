"""The name of an agent's control socket, and what is said on it (docs/adr/0045).

`control.sock` in the state directory, for its owner (and root) alone. A request is one line of JSON, `{"ask": …}`. The answer
to `metrics` is one line, that to `tap` goes on until somebody hangs up: a line of JSON, `{"input", "topic", "schema", "sizes",
"left_out"}`, then as many bytes as the sizes add up to, the records' values. A line of `{}` says that nothing was sent for a
while.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

SOCKET_NAME: Final = "control.sock"
_LONGEST_ADDRESS: Final = 100  # bytes; the kernel takes 107


@contextmanager
def address_in(directory: Path) -> Iterator[str]:
    """The socket's address; through an open directory where its path is too long for one."""
    path = directory / SOCKET_NAME
    if len(os.fsencode(path)) <= _LONGEST_ADDRESS:
        yield str(path)
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET_NAME}"
    finally:
        os.close(descriptor)


def unix_socket() -> socket.socket:
    """A stream socket of this machine."""
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

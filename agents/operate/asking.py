"""Asks a running agent, over its control socket."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from headrace.agents.operate.control_socket import address_in, unix_socket
from headrace.agents.operate.state_file import is_in_use
from headrace.errors import PeerError, UsageError

_TIMEOUT_S: Final = 10.0
_LONGEST_LINE: Final = 16 << 20
_HUNG_UP: Final = "the agent hung up; it has ended, or eight others ask"


@dataclass(frozen=True, slots=True)
class Sent:
    """Records of one chunk, as the agent sent them; `left_out` were not shown before and among them."""

    input: str
    topic: str
    schema: str
    values: Sequence[bytes]
    left_out: int


def metrics_of(directory: Path) -> dict[str, Any]:
    """What an agent tells of itself now.

    Raises:
        UsageError: no agent runs there, or it is somebody else's. PeerError: it does not answer.
    """
    with _ask(directory, "metrics") as answer:
        return dict(json.loads(_line(answer)))


def tap(directory: Path) -> Iterator[Sent | None]:
    """What an agent sends, from now on until it ends; None where nothing was sent for a moment.

    Raises:
        UsageError, PeerError: as above.
    """
    with _ask(directory, "tap") as answer:
        while True:
            try:
                head = json.loads(_line(answer))
            except PeerError:
                return
            if not head:
                yield None
                continue
            values = [answer.read(size) for size in head["sizes"]]
            yield Sent(head["input"], head["topic"], head["schema"], values, head["left_out"])


def _ask(directory: Path, what: str) -> IO[bytes]:
    connection = unix_socket()
    try:
        connection.settimeout(_TIMEOUT_S)
        with address_in(directory) as address:
            connection.connect(address)
        connection.sendall(json.dumps({"ask": what}).encode() + b"\n")
        return connection.makefile("rb")
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError) as error:
        if is_in_use(directory):
            told = f"{directory}: its agent does not answer: it is starting, or waits for room; its log says which"
            raise PeerError(told) from error
        raise UsageError(f"{directory}: no agent runs on that state; start it, or name another --state-dir") from error
    except (BrokenPipeError, ConnectionResetError) as error:
        raise PeerError(_HUNG_UP) from error
    except PermissionError as error:
        raise UsageError(f"{directory}: {error.strerror}; ask as the agent's user, or as root") from error
    except OSError as error:
        raise PeerError(f"{directory}: the agent does not answer: {error}") from error
    finally:
        connection.close()  # the file keeps it open


def _line(answer: IO[bytes]) -> bytes:
    try:
        line = answer.readline(_LONGEST_LINE)
    except ConnectionError as error:
        raise PeerError(_HUNG_UP) from error
    except OSError as error:
        raise PeerError(f"the agent does not answer: {error}") from error
    if not line.endswith(b"\n"):
        raise PeerError(_HUNG_UP)
    return line

"""The NameNodes of an HDFS, asked one after the other, each for a bounded time.

hdfs-native has no time-outs: it waits for a NameNode that hangs for as long as that hangs, and asks no other meanwhile. So each
NameNode has a client of its own here, and every question a thread of its own. A question that is not answered in time is left
behind with its client, and may still take effect, hours later; that is what an answer that is lost means to the table log
(landing.md, Ambiguous answers), and what is deleted or moved late was decided on as by a loader that slept before it did so.

What is left behind costs threads for as long as the NameNode hangs. So one that hangs is asked again by a new client after
twice the time of before, and at once when a question to it returns after all.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from typing import Any, Final, TypeVar

logger = logging.getLogger(__name__)

T = TypeVar("T")
ROUND_PAUSE_S: Final = 1.0
SILENT_DATA_S: Final = 240.0
"""A DataNode that hangs is left after a minute, and three may be in one pipeline."""
_NOT_DONE: Final = (
    "StandbyException",
    "RetriableException",
    "Connection refused",
    "No route to host",
    "Network is unreachable",
    "failed to lookup address",
)
"""What hdfs-native says where a NameNode was not reached, or has refused to look at the request."""


class UnansweredError(OSError):
    """A question was not answered in time; what it asks for may still happen."""


class Threads:
    """Questions on threads of their own, and the time, in seconds."""

    def begin(self, ask: Callable[[], T]) -> Future[T]:
        """Ask on a thread that does not hold the end of the process."""
        asked: Future[T] = Future()

        def run() -> None:
            try:
                asked.set_result(ask())
            except BaseException as error:  # noqa: BLE001 - raised where it is waited for
                asked.set_exception(error)

        threading.Thread(target=run, name="hdfs-call", daemon=True).start()
        return asked

    def wait(self, asked: Future[T], seconds: float) -> None:
        """Until it is answered, at most for so long."""
        wait((asked,), seconds)

    def now_s(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class Pulse:
    """The steps of a question that takes long: while there are some it is not silent. None is made once it is left behind."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s, self._lock, self._is_left = now_s, threading.Lock(), False
        self.beaten_s = now_s()

    def step(self, do: Callable[[], T]) -> T:
        """Do what others may do again once this question is left: read on in a file. Raises UnansweredError: it is left."""
        with self._lock:
            self.beat()
            return do()

    def beat(self) -> None:
        if self._is_left:
            raise UnansweredError("left behind")
        self.beaten_s = self._now_s()

    def leave(self) -> None:
        """On return no step is under way, and none will be."""
        with self._lock:
            self._is_left = True


Question = Callable[[Any, Pulse], T]
"""Asks a client."""


class NameNode:
    """One of them, and the clients of it that hang. Thread-safe."""

    def __init__(self, name: str, new_client: Callable[[], Any], patience_s: float, threads: Threads) -> None:
        self.name, self._new_client, self._patience_s, self._threads = name, new_client, patience_s, threads
        self._lock = threading.Lock()
        self._client: Any = None
        self._left: list[Future[Any]] = []
        """Of each client that hangs, the question that showed it."""
        self._left_s = 0.0

    def hangs(self) -> bool:
        """Whether it is of no use to ask it now."""
        with self._lock:
            if any(question.done() for question in self._left):
                self._left = [question for question in self._left if not question.done()]
                return False
            rest_s = self._patience_s * (1 << len(self._left)) / 2
            return bool(self._left) and self._threads.now_s() - self._left_s < rest_s

    def ask(self, question: Question[T]) -> T:
        """Raises UnansweredError: it has been silent for too long."""
        client, pulse = self.connect(), Pulse(self._threads.now_s)
        asked = self._threads.begin(lambda: question(client, pulse))
        while (rest_s := pulse.beaten_s + self._patience_s - self._threads.now_s()) > 0:
            self._threads.wait(asked, rest_s)
            if asked.done():
                return asked.result()
        self._leave(client, asked, pulse)
        raise UnansweredError(f"{self.name} has not answered for {self._patience_s:g} s")

    def ask_for_data(self, question: Question[T]) -> T:
        """Ask what waits for DataNodes, too: it is left when it is silent, and so is the NameNode when asked something else."""
        client, pulse = self.connect(), Pulse(self._threads.now_s)
        asked = self._threads.begin(lambda: question(client, pulse))
        while not asked.done():
            self._threads.wait(asked, self._patience_s)
            silent_s = self._threads.now_s() - pulse.beaten_s
            try:
                if asked.done() or silent_s < self._patience_s:
                    continue
                if silent_s > SILENT_DATA_S:
                    raise UnansweredError(f"the DataNodes have taken nothing for {SILENT_DATA_S:g} s")
                self.ask(lambda another, _: another.get_file_info("/"))
            except UnansweredError:
                self._leave(client, asked, pulse)
                raise
        return asked.result()

    def connect(self) -> Any:
        """The client that is asked; it is made here, and reaches for nothing. Raises what hdfs-native says of its settings."""
        with self._lock:
            if self._client is None:
                self._client = self._new_client()
            return self._client

    def _leave(self, client: Any, asked: Future[Any], pulse: Pulse) -> None:
        pulse.leave()
        with self._lock:
            if self._client is client:
                self._client, self._left_s = None, self._threads.now_s()
                self._left.append(asked)
                logger.warning("NameNode %s has not answered for %g s", self.name, self._patience_s)


class NameNodes:
    """All of one HDFS. Thread-safe."""

    def __init__(self, nodes: Sequence[NameNode], patience_s: float, threads: Threads) -> None:
        self._nodes, self._patience_s, self._threads = nodes, patience_s, threads
        self._active = nodes[0]
        self._has_answered = False
        """Whether HDFS was ever reached: while a NameNode takes over from another it is waited for, and a wrong port is not."""
        self._is_told = False
        """Whether it was said that none serves, since one did."""

    def ask(self, question: Question[T], *, changes: bool = False) -> T:
        """Ask who is active.

        Args:
            changes: whether the question changes anything; then it is not asked again once it may have been heard.
        Raises:
            FileNotFoundError, FileExistsError, IsADirectoryError: as HDFS says.
            OSError, RuntimeError: it says something else, or nothing.
        """
        return self._answered(question, changes=changes)[1]

    def write(self, begin: Question[T], go_on: Callable[[T, Pulse], None]) -> None:
        """Begin with whom is active, and go on there, with data. Raises as `ask`."""
        node, begun = self._answered(begin, changes=True)
        node.ask_for_data(lambda _, pulse: go_on(begun, pulse))

    def _answered(self, question: Question[T], *, changes: bool) -> tuple[NameNode, T]:
        until_s = self._threads.now_s() + self._patience_s if self._has_answered else 0.0
        while True:
            said, is_asked = [], False
            for node in self._in_turn():
                if node.hangs():
                    said.append(f"{node.name} hangs")
                    continue
                is_asked = True
                try:
                    answer = node.ask(question)
                except (FileNotFoundError, FileExistsError, IsADirectoryError):
                    self._reached(node)
                    raise
                except (OSError, RuntimeError) as error:
                    if not _may_ask_another(error, changes=changes):
                        raise
                    said.append(str(error) if isinstance(error, UnansweredError) else f"{node.name}: {_short(error)}")
                else:
                    self._reached(node)
                    return node, answer
            if not is_asked or self._threads.now_s() > until_s:
                raise OSError("; ".join(said))
            if not self._is_told:
                self._is_told = True
                logger.warning("no NameNode serves: %s; asked again for %g s", "; ".join(said), self._patience_s)
            self._threads.sleep(ROUND_PAUSE_S)

    def _in_turn(self) -> tuple[NameNode, ...]:
        active = self._active
        return (active, *(node for node in self._nodes if node is not active))

    def _reached(self, node: NameNode) -> None:
        self._active, self._has_answered, self._is_told = node, True, False


def _may_ask_another(error: Exception, *, changes: bool) -> bool:
    """Whether nothing was done, or nothing was to be changed; and whether another NameNode may know better."""
    if isinstance(error, UnansweredError):
        return not changes
    return any(sign in str(error) for sign in _NOT_DONE) or (isinstance(error, OSError) and not changes)


def _short(error: Exception) -> str:
    return "it is not the active one" if "StandbyException" in str(error) else str(error).split("\n")[0]

"""Work on schemas in threads, so that the loop answers others meanwhile: a text of 900 kB keeps a thread busy for seconds.

Large texts are worked on one at a time: what is pure Python holds the interpreter, and the loop gets its turn from each such
thread some milliseconds late. Small ones need not wait for them.
"""

from asyncio import get_running_loop
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, Final, TypeVar

from headrace.schemas.refusals import RestError

_LARGE: Final = 64 * 1024
"""Characters from which on a text is large; a smaller one takes a thread some 50 ms at the most."""
_MOST_WAITING: Final = 32
"""Large ones; each holds its request's 900 kB, and the last of them waits for all before it."""
T = TypeVar("T")


class OffLoop:
    """Threads of one process."""

    def __init__(self) -> None:
        self._small: Final[Executor] = ThreadPoolExecutor(4, "schemas-small")
        self._large: Final[Executor] = ThreadPoolExecutor(1, "schemas-large")
        self._waiting = 0

    async def __call__(self, size: int, work: Callable[..., T], *args: Any, **options: Any) -> T:
        """What `work` returns.

        Args:
            size: how many characters of schemas it looks at.
        Raises:
            RestError: too many large ones are waiting already (429).
        """
        loop = get_running_loop()
        if size < _LARGE:
            return await loop.run_in_executor(self._small, lambda: work(*args, **options))
        if self._waiting >= _MOST_WAITING:
            raise RestError(429, 42902, "too many large schemas at a time; try again later")
        self._waiting += 1
        try:
            return await loop.run_in_executor(self._large, lambda: work(*args, **options))
        finally:
            self._waiting -= 1


off_loop: Final = OffLoop()

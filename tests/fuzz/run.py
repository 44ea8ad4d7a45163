"""Fuzz a real broker for a while, then a real registry: `python -m tests.fuzz.run [seconds] [first seed]` (`make fuzz`).

Every conversation follows from its number. One that leaves a traceback in the part's log, or a hang, is to be kept (a broker's
in `tests/fuzz/seeds`, a registry's in `test_registry_http.py`) and replayed by the tests from then on. Ends with 1 if there was
any.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

from tests.fuzz import generate, http_requests
from tests.fuzz.target import assert_alive, converse, faults, fuzzed_broker, fuzzed_registry, memory_mb
from tests.processes import Part

_LOOK_EVERY = 200
_AT_ONCE = 16
_REGISTRYS_SHARE = 4  # of the time that the broker has


def main() -> int:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    number = int(sys.argv[2]) if len(sys.argv) > 2 else int(time.time()) * 1000
    known: set[str] = set()
    with tempfile.TemporaryDirectory(prefix="headrace-fuzz-") as folder:
        part = fuzzed_broker(Path(folder) / "wire")
        try:
            _fuzz(part, generate.conversation, number, seconds, known)
        finally:
            part.stop()
        with fuzzed_registry(Path(folder) / "http") as part:
            _fuzz(part, http_requests.conversation, number, seconds / _REGISTRYS_SHARE, known)
    return 1 if known else 0


def _fuzz(part: Part, conversation: Callable[[Random], Sequence[bytes]], number: int, seconds: float, known: set[str]) -> None:
    end, begin, warm_mb = time.monotonic() + seconds, number, 0.0
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        while time.monotonic() < end:
            look = [number + step for step in range(_LOOK_EVERY)]
            closed = pool.map(lambda each: converse(part, conversation(Random(each))), look)
            late = [each for each, done in zip(look, closed, strict=True) if not done]
            hung = [each for each in late if not converse(part, conversation(Random(each)))]  # else the machine was busy
            if hung:
                known.add("hang")
                print(f"--- not closed: {hung}", flush=True)
            number += _LOOK_EVERY
            assert_alive(part)
            _keep_new(part, look, known)
            if number == begin + 25 * _LOOK_EVERY:
                warm_mb = memory_mb(part)
            if (number - begin) % (50 * _LOOK_EVERY) == 0:
                print(f"{part.part}: {number - begin} conversations, {memory_mb(part):.0f} MB ({warm_mb:.0f} warm)", flush=True)
    told = f"{number - begin} conversations from {begin}, {memory_mb(part):.0f} MB ({warm_mb:.0f} when warm)"
    print(f"{part.part}: {told}", flush=True)


def _keep_new(part: Part, look: list[int], known: set[str]) -> None:
    for fault in faults(part):
        kind = fault[-600:]
        if kind not in known:
            known.add(kind)
            print(f"--- among {look[0]} to {look[-1]}:\n{fault}", flush=True)


if __name__ == "__main__":
    sys.exit(main())

"""Fuzz a real broker for a while: `python -m tests.fuzz.run [seconds] [first seed]` (`make fuzz`).

Every conversation follows from its number. One that leaves a traceback in the broker's log, or a hang, is kept in
`tests/fuzz/seeds` and replayed by the tests from then on. Ends with 1 if there was any.
"""

import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

from tests.fuzz.generate import conversation
from tests.fuzz.target import assert_alive, converse, faults, fuzzed_broker, memory_mb
from tests.processes import Part

SEEDS = Path(__file__).parent / "seeds"
_LOOK_EVERY = 200
_AT_ONCE = 16


def main() -> int:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    number = int(sys.argv[2]) if len(sys.argv) > 2 else int(time.time()) * 1000
    end = time.monotonic() + seconds
    known: set[str] = set()
    with tempfile.TemporaryDirectory(prefix="headrace-fuzz-") as folder, ThreadPoolExecutor(_AT_ONCE) as pool:
        part = fuzzed_broker(Path(folder))
        try:
            warm_mb = 0.0
            begin = number
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
                    print(f"{number - begin} conversations, {memory_mb(part):.0f} MB ({warm_mb:.0f} warm)", flush=True)
            print(f"{number - begin} conversations from {begin}, {memory_mb(part):.0f} MB ({warm_mb:.0f} when warm)")
        finally:
            part.stop()
    return 1 if known else 0


def _keep_new(part: Part, look: list[int], known: set[str]) -> None:
    for fault in faults(part):
        kind = fault[-600:]
        if kind not in known:
            known.add(kind)
            print(f"--- among {look[0]} to {look[-1]}:\n{fault}", flush=True)


if __name__ == "__main__":
    sys.exit(main())

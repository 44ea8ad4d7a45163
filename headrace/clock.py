"""Time, handed in: cores take `now_ms`, shells take a `Clock`, nobody reads the system's clock by default.

Two kinds that must not be mixed: wall time (ms since the Unix epoch, may step) and monotonic time (ms since an arbitrary
start; counts while the machine is suspended, as a table-log attempt's age must).
"""

import time
from typing import NewType, Protocol

WallMs = NewType("WallMs", int)
MonotonicMs = NewType("MonotonicMs", int)


class Clock(Protocol):
    """What a shell may ask about time."""

    def wall_ms(self) -> WallMs:
        """Milliseconds since the Unix epoch."""
        ...

    def monotonic_ms(self) -> MonotonicMs:
        """Milliseconds since an arbitrary point; never goes back, counts suspension."""
        ...


class SystemClock:
    """The machine's clocks."""

    def wall_ms(self) -> WallMs:
        return WallMs(time.time_ns() // 1_000_000)

    def monotonic_ms(self) -> MonotonicMs:
        return MonotonicMs(time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000)

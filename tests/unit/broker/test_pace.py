"""A disk is slow when a write waited for it; a write that waited for a processor says nothing of the disk."""

import time

from headrace.broker.pace import Pace, thread_run_delay_ms, waited_for_disk_ms


class Processor:
    """How long the loop's thread has waited for one."""

    def __init__(self) -> None:
        self.waited_ms = 400

    def __call__(self) -> int:
        return self.waited_ms


def test_a_write_that_waited_makes_its_directory_slow_for_ten_seconds() -> None:
    pace = Pace(Processor())
    pace.wrote("/a", 35, now_ms=1_000)
    assert (pace.is_slow("/a", 10_999), pace.is_slow("/b", 10_999)) == (True, False)
    pace.waited("/a", 21, now_ms=9_000)
    assert pace.is_slow("/a", 18_999)
    assert not pace.is_slow("/a", 19_000)


def test_a_write_that_waited_for_a_processor_does_not() -> None:
    processor = Processor()
    pace = Pace(processor)
    processor.waited_ms += 30
    pace.wrote("/a", 45, now_ms=1_000)
    assert not pace.is_slow("/a", 1_001)
    pace.wrote("/a", 45, now_ms=2_000)  # the processor's share was counted, and not again
    assert pace.is_slow("/a", 2_001)


def test_what_the_loop_waited_for_before_is_not_counted_against_a_write() -> None:
    processor = Processor()
    pace = Pace(processor)
    processor.waited_ms += 900
    pace.look()
    pace.wrote("/a", 25, now_ms=1_000)
    assert pace.is_slow("/a", 1_001)


def test_the_kernel_tells_sleep_from_a_busy_processor() -> None:
    assert thread_run_delay_ms() >= 0
    assert waited_for_disk_ms(lambda: time.sleep(0.03)) >= 25

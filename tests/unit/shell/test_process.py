"""What a process asks of the kernel for itself."""

import threading
from pathlib import Path

from headrace.process import wake_in_time


def test_timers_of_a_thread_and_of_those_that_it_starts_end_when_they_are_due() -> None:
    slack_ns: list[int] = []

    def look() -> None:
        slack_ns.append(int(Path(f"/proc/{threading.get_native_id()}/timerslack_ns").read_text()))

    def work() -> None:
        wake_in_time()
        look()
        started = threading.Thread(target=look)
        started.start()
        started.join()

    for each in (threading.Thread(target=look), threading.Thread(target=work)):
        each.start()
        each.join()
    assert slack_ns[1:] == [1, 1]

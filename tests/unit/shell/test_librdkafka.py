"""What librdkafka logs of its own: the same, no oftener than every ten seconds."""

import logging

from headrace.flood import WINDOW_S
from headrace.librdkafka import Refuted, unrepeated


def test_the_same_failure_to_connect_is_written_once_in_ten_seconds() -> None:
    (repeated,) = unrepeated("headrace.test.librdkafka").filters
    assert unrepeated("headrace.test.librdkafka").filters == [repeated]
    assert isinstance(repeated, logging.Filter)

    def writes(text: str, created_s: float) -> bool:
        return bool(repeated.filter(logging.makeLogRecord({"msg": "%s [%s]", "args": ("FAIL", text), "created": created_s})))

    refused = "127.0.0.1:1/bootstrap: Connection refused (after %dms in state CONNECT)"
    assert [writes(refused % n, 5_000.0 + n / 10) for n in range(100)] == [True] + [False] * 99
    assert writes("127.0.0.1:2/bootstrap: Connection refused (after 0ms in state CONNECT)", 5_001.0)
    assert writes(refused % 3, 5_000.0 + WINDOW_S)


def test_a_batch_that_stays_wrong_is_told_each_minute_and_another_after_it_at_once(caplog):
    refuted = Refuted()

    def told(until_ms):
        caplog.clear()
        for now_ms in range(until_ms - 60_000, until_ms, 1000):
            refuted.note("t", 1, 700, now_ms)
            refuted.note("t", 2, 30, now_ms)
        return [(one.partition, one.offset, one.partitions) for one in caplog.records if one.levelname == "ERROR"]

    assert told(60_000) == [(1, 700, 1)]
    assert told(120_000) == [(1, 700, 2)]
    refuted.passed("t", 1, 700)  # up to it, not beyond
    refuted.passed("t", 2, 31)
    assert told(180_000) == [(1, 700, 1)]
    refuted.passed("t", 1, 701)
    refuted.forget("t", 2)
    caplog.clear()
    refuted.note("t", 1, 900, 180_500)
    assert [one.partitions for one in caplog.records] == [1]

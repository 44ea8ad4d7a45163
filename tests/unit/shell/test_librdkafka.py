"""What librdkafka logs of its own: the same, no oftener than every ten seconds."""

import logging

from headrace.flood import WINDOW_S
from headrace.librdkafka import unrepeated


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

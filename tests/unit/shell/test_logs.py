"""A part's log: one JSON object a line, and no more of one kind than helps."""

import io
import json
import logging
from typing import Any

import pytest

from headrace.flood import LINES, MAX_KINDS, WINDOW_S, Flood
from headrace.logs import log_to_stderr


@pytest.fixture
def written() -> Any:
    """What was logged, as objects."""
    stream = io.StringIO()
    before = logging.root.handlers[:]
    log_to_stderr(stream=stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logging.root.handlers[:] = before


def logged(text: str, created_s: float, **extra: Any) -> None:
    record = logging.makeLogRecord(
        {"msg": text, "levelname": "INFO", "levelno": 20, "created": created_s, "name": "part", **extra}
    )
    logging.root.handle(record)


def test_the_keys_of_extra_are_keys_of_the_line(written: Any) -> None:
    logging.getLogger("part").warning("segment rolled", extra={"topic": "orders"})
    (line,) = written()
    assert (line["level"], line["logger"], line["msg"], line["topic"]) == ("warning", "part", "segment rolled", "orders")
    assert line["ts"].endswith("Z")


def test_a_flood_of_lines_about_clients_is_cut_and_counted(written: Any) -> None:
    for number in range(500):
        logged("connection closed: %s", 5_000.0 + number / 1000, args=(number,), client=f"192.0.2.7:{number}")
    assert len(written()) == LINES
    logged("broker stops", 5_000.0 + WINDOW_S)
    assert [line["msg"] for line in written()[LINES:]] == ["lines left out", "broker stops"]
    told = written()[LINES]
    assert (told["like"], told["count"]) == ("connection closed: %s", 500 - LINES)


def test_lines_that_no_client_can_cause_are_all_written(written: Any) -> None:
    for number in range(500):
        logged("topic created", 5_000.0, topic=f"t{number}")
    assert len(written()) == 500


def test_a_process_that_asks_for_it_writes_no_more_of_one_place_in_the_code_than_helps() -> None:
    stream = io.StringIO()
    before = logging.root.handlers[:]
    log_to_stderr(stream=stream, limit_all=True)
    try:
        for number in range(500):
            logged("cannot be read", 5_000.0 + number / 1000, file=f"f{number}", module="hands", lineno=70)
            logged("the file is gone", 5_000.0 + number / 1000, module="hands", lineno=71)
        logged("agent stops", 5_000.0 + WINDOW_S + 1, module="agent", lineno=7)
    finally:
        logging.root.handlers[:] = before
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert len(lines) == 2 * LINES + 2 + 1
    assert [line["count"] for line in lines if line["msg"] == "lines left out"] == [500 - LINES] * 2


def test_kinds_are_counted_apart_and_again_in_the_next_window() -> None:
    flood = Flood()
    assert [flood.admits("a", 1.0) for _ in range(LINES + 2)].count(True) == LINES
    assert flood.admits("b", 1.0)
    assert flood.admits("a", 1.0 + WINDOW_S)


def test_a_clock_that_goes_back_does_not_silence_a_kind() -> None:
    flood = Flood()
    for _ in range(LINES + 5):
        flood.admits("a", 9_000.0)
    assert flood.left_out(2_000.0) == [("a", 5)]
    assert flood.admits("a", 2_000.0)


def test_kinds_without_end_cost_no_memory() -> None:
    flood = Flood()
    for number in range(MAX_KINDS + 50):
        assert flood.admits(str(number), 1.0)
    assert len(flood.left_out(100.0)) == 0

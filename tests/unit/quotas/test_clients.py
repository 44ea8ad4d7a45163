"""For how long a client is throttled, and what is kept of those that are measured. Time is moved by hand."""

import pytest

from headrace.broker.quotas.clients import MAX_MEASURED, ClientQuotas
from headrace.broker.quotas.entities import (
    CLIENT_ID,
    CONNECTION_CREATION_RATE,
    CONSUMER_BYTE_RATE,
    IP,
    PRODUCER_BYTE_RATE,
    REQUEST_PERCENTAGE,
    USER,
)
from headrace.broker.quotas.rate import Windows


def quotas() -> ClientQuotas:
    made = ClientQuotas(Windows(11, 1000))
    made.book.replace(
        frozenset({(CLIENT_ID, None)}), {PRODUCER_BYTE_RATE: 1000, CONSUMER_BYTE_RATE: 500, REQUEST_PERCENTAGE: 10}
    )
    made.book.replace(frozenset({(USER, "alice")}), {PRODUCER_BYTE_RATE: 2000})
    made.book.replace(frozenset({(IP, None)}), {CONNECTION_CREATION_RATE: 2})
    return made


def test_a_client_that_waits_as_it_is_told_goes_at_its_rate() -> None:
    measured = quotas()
    now_ms, sent = 1_000, 0
    while now_ms < 121_000:
        sent += 4_000
        now_ms += 5 + measured.record(PRODUCER_BYTE_RATE, "bob", "app", 4_000, now_ms)
    assert sent / 120 == pytest.approx(1000, rel=0.15)  # a first burst of ten seconds' worth passes


def test_clients_with_an_id_of_their_own_are_measured_apart() -> None:
    measured = quotas()
    assert measured.record(PRODUCER_BYTE_RATE, "bob", "greedy", 50_000, 5_000) > 0
    assert measured.record(PRODUCER_BYTE_RATE, "bob", "modest", 500, 5_000) == 0


def test_a_users_clients_share_the_users_quota() -> None:
    measured = quotas()
    assert measured.record(PRODUCER_BYTE_RATE, "alice", "one", 15_000, 5_000) == 0
    assert measured.record(PRODUCER_BYTE_RATE, "alice", "two", 15_000, 5_000) == 5_000  # 3,000/s of 2,000/s over ten seconds


def test_who_has_no_quota_is_not_measured() -> None:
    measured = ClientQuotas(Windows(11, 1000))
    assert measured.record(PRODUCER_BYTE_RATE, "bob", "app", 1e12, 5_000) == 0
    assert measured.most_in_a_burst(CONSUMER_BYTE_RATE, "bob", "app") is None
    assert measured.measured == 0


def test_a_new_bound_counts_for_what_was_measured_before() -> None:
    measured = quotas()
    assert measured.record(PRODUCER_BYTE_RATE, "bob", "app", 9_000, 5_000) == 0
    measured.book.replace(frozenset({(CLIENT_ID, "app")}), {PRODUCER_BYTE_RATE: 100})
    assert measured.record(PRODUCER_BYTE_RATE, "bob", "app", 1, 5_000) > 0


def test_what_is_taken_back_was_never_done() -> None:
    measured = quotas()
    assert measured.record(CONSUMER_BYTE_RATE, "bob", "app", 9_000, 5_000) > 0
    assert measured.take_back(CONSUMER_BYTE_RATE, "bob", "app", 9_000, 5_000)
    assert measured.record(CONSUMER_BYTE_RATE, "bob", "app", 4_000, 5_000) == 0
    assert not measured.take_back(CONSUMER_BYTE_RATE, "bob", "app", 1_000, 5_000)


def test_a_burst_is_ten_windows_of_the_bound() -> None:
    measured = quotas()
    assert measured.most_in_a_burst(CONSUMER_BYTE_RATE, "bob", "app") == 5_000
    assert measured.record(CONSUMER_BYTE_RATE, "bob", "app", 5_000, 5_000) == 0
    assert measured.record(CONSUMER_BYTE_RATE, "bob", "app", 1, 5_000) > 0


def test_time_is_throttled_for_a_window_at_most() -> None:
    measured = quotas()
    assert measured.record_time("bob", "app", 900_000_000, 5_000) == 0  # 9 % of ten seconds
    assert measured.record_time("bob", "app", 60_000_000_000, 5_000) == 1_000


def test_connections_beyond_the_rate_wait_and_those_refused_do_not_count() -> None:
    measured = quotas()
    served = sum(not measured.record_connection("192.0.2.7", now_ms) for now_ms in range(1_000, 61_000, 10))
    assert served == pytest.approx(120, rel=0.2)
    assert measured.record_connection("192.0.2.8", 61_000) == 0


def test_nothing_is_kept_of_who_was_silent() -> None:
    measured = quotas()
    for number in range(50):
        measured.record(PRODUCER_BYTE_RATE, "bob", f"app-{number}", 10, 5_000)
    measured.sweep(15_000)
    assert measured.measured == 50
    measured.sweep(40_000)
    assert measured.measured == 0


def test_client_ids_without_end_cost_no_memory() -> None:
    measured = quotas()
    for number in range(MAX_MEASURED + 700):
        measured.record(PRODUCER_BYTE_RATE, "bob", f"app-{number}", 10, 5_000)
    assert measured.measured == MAX_MEASURED

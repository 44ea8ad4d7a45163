"""Refusals in the log and in numbers."""

import logging

import pytest

from headrace.broker.security.access import Operation, Principal, ResourceType
from headrace.broker.security.denials import Denials
from headrace.clock import MonotonicMs, WallMs

EVE = Principal("User", "eve")


class HandClock:
    now_ms = 7_000

    def wall_ms(self) -> WallMs:
        return WallMs(self.now_ms)

    def monotonic_ms(self) -> MonotonicMs:
        return MonotonicMs(self.now_ms)


def test_every_refusal_is_counted_and_one_a_second_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = HandClock()
    denials = Denials(clock)
    for name in ("first", "second", "third"):
        denials.note(EVE, "10.0.0.66", Operation.READ, ResourceType.TOPIC, name)
        clock.now_ms += 100
    clock.now_ms += 1000
    denials.note(EVE, "10.0.0.66", Operation.ALTER, ResourceType.CLUSTER, "x" * 5000)
    assert denials.counts == {("READ", "TOPIC"): 3, ("ALTER", "CLUSTER"): 1}
    first, second = caplog.records
    assert first.getMessage() == "denied"
    said = first.__dict__
    assert (said["client"], said["principal"], said["operation"]) == ("10.0.0.66", "User:eve", "READ")
    assert said["resource"] == "TOPIC:first"
    assert second.getMessage() == "denied (and 2 more since the last such line)"
    assert len(second.__dict__["resource"]) < 400

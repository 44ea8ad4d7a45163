"""Refusals in the log and in numbers."""

import logging

import pytest

from headrace.broker.security.access import Operation, Principal, ResourceType
from headrace.broker.security.denials import Denials

EVE = Principal("User", "eve")


def test_every_refusal_is_counted_and_told_and_no_name_is_too_long_for_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    denials = Denials()
    denials.note(EVE, "10.0.0.66", Operation.READ, ResourceType.TOPIC, "first")
    denials.note(EVE, "10.0.0.66", Operation.ALTER, ResourceType.CLUSTER, "x" * 5000)
    assert denials.counts == {("READ", "TOPIC"): 1, ("ALTER", "CLUSTER"): 1}
    first, second = (record.__dict__ for record in caplog.records)
    assert (first["msg"], first["client"]) == ("denied", "10.0.0.66")
    assert (first["principal"], first["operation"], first["resource"]) == ("User:eve", "READ", "TOPIC:first")
    assert len(second["resource"]) < 400

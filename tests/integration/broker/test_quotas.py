"""Client quotas over the wire: set, found, refused, kept."""

from pathlib import Path
from typing import Any

import pytest

from headrace.broker.wire import ErrorCode
from tests.integration.groups.wire_client import WireClient
from tests.processes import Part, broker

DESCRIBE, ALTER = 48, 49
EXACT, DEFAULT, ANY = 0, 1, 2


def wire(part: Part) -> WireClient:
    return WireClient(part.ports["kafka"])


def alteration(entity: dict[str, str | None], **quotas: float | None) -> dict[str, Any]:
    """An entry of AlterClientQuotas; None removes a key."""
    return {
        "entity": [{"entity_type": kind, "entity_name": name} for kind, name in entity.items()],
        "ops": [{"key": key, "value": value or 0.0, "remove": value is None} for key, value in quotas.items()],
    }


def alter(client: WireClient, *entries: dict[str, Any], version: int = 1, validate_only: bool = False) -> list[int]:
    """The error of each entry."""
    answer = client.call(ALTER, version, {"entries": list(entries), "validate_only": validate_only})
    return [entry.error_code for entry in answer.entries]


def describe(client: WireClient, *parts: tuple[str, int, str | None], strict: bool = False, version: int = 1) -> Any:
    components = [{"entity_type": kind, "match_type": match, "match": name} for kind, match, name in parts]
    return client.call(DESCRIBE, version, {"components": components, "strict": strict})


def told(answer: Any) -> list[tuple[dict[str, str | None], dict[str, float]]]:
    assert answer.error_code == ErrorCode.none, answer
    return [
        ({part.entity_type: part.entity_name for part in entry.entity}, {value.key: value.value for value in entry.values})
        for entry in answer.entries
    ]


@pytest.mark.parametrize("version", [0, 1])
def test_quotas_are_kept_over_a_restart_and_taken_away(tmp_path: Path, version: int) -> None:
    part = broker(tmp_path)
    with part, wire(part) as client:
        entries = (
            alteration({"user": "alice", "client-id": None}, producer_byte_rate=2048, request_percentage=12.5),
            alteration({"ip": None}, connection_creation_rate=7),
        )
        assert alter(client, *entries, version=version) == [0, 0]
    with part, wire(part) as client:
        assert told(describe(client, version=version)) == [
            ({"client-id": None, "user": "alice"}, {"producer_byte_rate": 2048, "request_percentage": 12.5}),
            ({"ip": None}, {"connection_creation_rate": 7}),
        ]
        gone = alteration({"user": "alice", "client-id": None}, producer_byte_rate=None, request_percentage=None)
        assert alter(client, gone, version=version) == [0]
        assert told(describe(client, ("user", ANY, None), version=version)) == []


def test_each_entity_is_changed_whole_or_not_at_all_and_by_itself(tmp_path: Path) -> None:
    with broker(tmp_path) as part, wire(part) as client:
        assert alter(
            client,
            alteration({"user": "alice"}, producer_byte_rate=2048, speed=3),
            alteration({"user": "bob"}, producer_byte_rate=1024),
            alteration({"user": "bob"}, producer_byte_rate=99),
            alteration({"user": "carol", "ip": None}, producer_byte_rate=99),
            alteration({}, producer_byte_rate=99),
            alteration({"user": "dave"}, producer_byte_rate=-4),
        ) == [42, 0, 42, 42, 42, 42]
        assert told(describe(client)) == [({"user": "bob"}, {"producer_byte_rate": 1024})]


def test_what_is_only_validated_is_not_changed(tmp_path: Path) -> None:
    with broker(tmp_path) as part, wire(part) as client:
        assert alter(client, alteration({"user": "bob"}, consumer_byte_rate=10), validate_only=True) == [0]
        assert told(describe(client)) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("parts", "error"),
    [
        ([("user", EXACT, "a"), ("user", ANY, None)], ErrorCode.invalid_request),
        ([("", ANY, None)], ErrorCode.invalid_request),
        ([("tribe", ANY, None)], ErrorCode.unsupported_version),
        ([("ip", ANY, None), ("user", ANY, None)], ErrorCode.invalid_request),
        ([("user", 3, None)], ErrorCode.invalid_request),
        ([("user", -1, None)], ErrorCode.invalid_request),
    ],
)
def test_a_filter_that_cannot_be_is_refused(tmp_path: Path, parts: list[tuple[str, int, str | None]], error: ErrorCode) -> None:
    with broker(tmp_path) as part, wire(part) as client:
        answer = describe(client, *parts)
        assert (answer.error_code, answer.entries) == (error, None)

"""A broker that asks who a client is: what is served before, during and after a login, and what a failed one is told."""

import contextlib
import json
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.broker.security.scram import SCRAM_MECHANISMS
from headrace.broker.wire import ErrorCode
from headrace.flood import LINES
from tests.integration.broker.requests import METADATA, metadata
from tests.integration.groups.wire_client import WireClient
from tests.integration.security.sasl_wire import (
    DESCRIBE_USERS,
    SASL_AUTHENTICATE,
    handshake,
    log_in,
    port_of,
    put_user,
    secured,
    send_token,
)
from tests.processes import Part
from tests.unit.security.scram_client import ScramClient

API_VERSIONS = 18
NO_TOPIC = {"topics": [], "allow_auto_topic_creation": False, "include_topic_authorized_operations": False}


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Part]:
    with secured(tmp_path_factory.mktemp("sasl")) as running:
        put_user(running, "alice", "wonderland")
        put_user(running, "bob,=", "builder", "SCRAM-SHA-512", iterations=8192)
        yield running


@pytest.fixture
def client(part: Part) -> Iterator[WireClient]:
    with WireClient(port_of(part, "SASL_PLAINTEXT")) as connected:
        yield connected


@pytest.mark.parametrize("version", [0, 1, 2])
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_one_user_logs_in_with_every_mechanism(client: WireClient, mechanism: str, version: int) -> None:
    answer = log_in(client, mechanism, "alice", "wonderland", version)
    assert answer.error_code == 0
    assert metadata(client).brokers


def test_a_name_with_comma_and_equals_sign_is_a_name(client: WireClient) -> None:
    assert log_in(client, "SCRAM-SHA-512", "bob,=", "builder").error_code == 0


@pytest.mark.parametrize(
    ("mechanism", "name", "password"),
    [
        ("PLAIN", "alice", "looking-glass"),
        ("PLAIN", "nobody", "wonderland"),
        ("SCRAM-SHA-256", "alice", "looking-glass"),
        ("SCRAM-SHA-512", "nobody", "wonderland"),
        ("SCRAM-SHA-256", "bob,=", "builder"),  # has a credential for the other one only
    ],
)
def test_a_wrong_password_and_an_unknown_user_are_told_the_same_and_closed(
    client: WireClient, mechanism: str, name: str, password: str
) -> None:
    answer = log_in(client, mechanism, name, password)
    assert answer.error_code == ErrorCode.sasl_authentication_failed
    assert answer.error_message in (
        "Authentication failed: Invalid username or password",
        f"Authentication failed during authentication due to invalid credentials with SASL mechanism {mechanism}",
    )
    assert is_closed(client)


def is_closed(client: WireClient) -> bool:
    with pytest.raises((AssertionError, ConnectionError)):
        metadata(client)
    return True


@pytest.mark.parametrize("step", ["before", "during"])
def test_nothing_else_is_served_before_the_login(client: WireClient, step: str) -> None:
    assert client.call(API_VERSIONS, 0, {}).error_code == 0
    if step == "during":
        handshake(client, "PLAIN")
    assert is_closed(client)


def test_a_token_without_a_handshake_is_closed(client: WireClient) -> None:
    client.send(SASL_AUTHENTICATE, 2, {"auth_bytes": b"\0alice\0wonderland"})
    with pytest.raises((AssertionError, ConnectionError)):
        client.receive()


def test_what_comes_behind_a_token_waits_for_its_verdict(client: WireClient) -> None:
    handshake(client, "PLAIN")
    client.send(SASL_AUTHENTICATE, 2, {"auth_bytes": b"\0alice\0wonderland"})
    client.send(METADATA, 12, NO_TOPIC)
    assert client.receive().error_code == 0
    assert client.receive().brokers


def test_what_comes_behind_a_wrong_token_is_never_served(client: WireClient) -> None:
    handshake(client, "PLAIN")
    client.send(SASL_AUTHENTICATE, 2, {"auth_bytes": b"\0alice\0wrong"})
    client.send(METADATA, 12, NO_TOPIC)
    assert client.receive().error_code == ErrorCode.sasl_authentication_failed
    with pytest.raises((AssertionError, ConnectionError)):
        client.receive()


def test_a_second_token_behind_the_one_that_is_checked_is_answered_and_changes_nothing(tmp_path: Path) -> None:
    with secured(tmp_path, {"connections.max.reauth.ms": 60_000}) as part:
        put_user(part, "alice", "wonderland")
        with WireClient(port_of(part, "SASL_PLAINTEXT")) as client:
            for _ in range(2):  # at the login and at its renewal
                handshake(client, "PLAIN")
                for _ in range(2):
                    client.send(SASL_AUTHENTICATE, 2, {"auth_bytes": b"\0alice\0wonderland"})
                assert [client.receive().error_code for _ in range(2)] == [0, ErrorCode.illegal_sasl_state]
        assert "Traceback" not in part.log_tail()


def test_a_mechanism_that_is_not_enabled_is_told_those_that_are(client: WireClient) -> None:
    answer = handshake(client, "GSSAPI")
    assert answer.error_code == ErrorCode.unsupported_sasl_mechanism
    assert answer.mechanisms == ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
    assert is_closed(client)


def test_after_handshake_v0_tokens_are_frames_without_a_header(part: Part) -> None:
    with WireClient(port_of(part, "SASL_PLAINTEXT")) as client:
        assert handshake(client, "SCRAM-SHA-256", version=0).error_code == 0
        scram = ScramClient(SCRAM_MECHANISMS["SCRAM-SHA-256"], "alice", b"wonderland")
        challenge = bare(client, scram.first())
        assert scram.is_server(bare(client, scram.final(challenge)))
        assert metadata(client).brokers
    with WireClient(port_of(part, "SASL_PLAINTEXT")) as client:
        handshake(client, "PLAIN", version=0)
        with pytest.raises((AssertionError, ConnectionError)):
            bare(client, b"\0alice\0wrong")


def bare(client: WireClient, token: bytes) -> bytes:
    client.send_bytes(struct.pack(">i", len(token)) + token)
    return client.receive_bytes()


def test_a_logged_in_client_and_one_that_need_not_are_told_so_and_go_on(part: Part, client: WireClient) -> None:
    log_in(client, "PLAIN", "alice", "wonderland")
    with WireClient(port_of(part, "PLAINTEXT")) as other:
        for each in (client, other):
            assert handshake(each, "PLAIN").error_code == ErrorCode.illegal_sasl_state
            assert send_token(each, b"\0alice\0wonderland").error_code == ErrorCode.illegal_sasl_state
            assert metadata(each).brokers


def test_a_frame_before_the_login_is_small(client: WireClient) -> None:
    client.send_bytes(struct.pack(">i", 524_289))
    assert is_closed(client)


def test_a_frame_after_the_login_is_as_large_as_any(client: WireClient) -> None:
    log_in(client, "PLAIN", "alice", "wonderland")
    names = [{"name": "x" * 200, "topic_id": None} for _ in range(3000)]
    client.call(
        METADATA, 12, {"topics": names, "allow_auto_topic_creation": False, "include_topic_authorized_operations": False}
    )


def test_neither_password_nor_keys_are_ever_logged(part: Part) -> None:
    said = part.log_file.read_text()
    assert "login failed" in said
    for secret in ("wonderland", "looking-glass", "builder"):
        assert secret not in said


def test_a_session_ends_and_is_renewed_in_place(tmp_path: Path) -> None:
    with secured(tmp_path, {"connections.max.reauth.ms": 1500}) as part:
        put_user(part, "alice", "wonderland")
        put_user(part, "bob", "builder")
        with WireClient(port_of(part, "SASL_PLAINTEXT")) as client:
            assert log_in(client, "PLAIN", "alice", "wonderland").session_lifetime.total_seconds() == 1.5
            assert log_in(client, "PLAIN", "alice", "wonderland").error_code == 0
            assert metadata(client).brokers
        with WireClient(port_of(part, "SASL_PLAINTEXT")) as client:
            log_in(client, "PLAIN", "alice", "wonderland")
            answer = log_in(client, "PLAIN", "bob", "builder")
            assert answer.error_code == ErrorCode.sasl_authentication_failed
            assert "Cannot change principals" in answer.error_message
        with WireClient(port_of(part, "SASL_PLAINTEXT")) as client:
            log_in(client, "PLAIN", "alice", "wonderland")
            expires(client)
            assert "the session has expired" in part.log()


def expires(client: WireClient) -> None:
    """Ask until the connection is closed, for at most the test's time."""
    with pytest.raises((AssertionError, ConnectionError)):
        list(iter(lambda: metadata(client), None))


def test_a_listener_may_offer_less_than_the_others(tmp_path: Path) -> None:
    own = {"listener.name.sasl_plaintext.sasl.enabled.mechanisms": "SCRAM-SHA-512"}
    with secured(tmp_path, own) as part, WireClient(port_of(part, "SASL_PLAINTEXT")) as client:
        assert handshake(client, "PLAIN").mechanisms == ("SCRAM-SHA-512",)


def test_users_outlive_a_restart_and_are_described_without_their_secrets(tmp_path: Path) -> None:
    part = secured(tmp_path)
    with part:
        put_user(part, "alice", "wonderland")
    with part, WireClient(port_of(part, "SASL_PLAINTEXT")) as client:
        log_in(client, "SCRAM-SHA-512", "alice", "wonderland")
        told = client.call(DESCRIBE_USERS, 0, {"users": None})
        assert [(each.user, [tuple_of(info) for info in each.credential_infos]) for each in told.results] == [
            ("alice", [(1, 4096), (2, 4096)])
        ]
        asked = [{"name": name} for name in ("alice", "alice", "nobody")]
        twice, missing = client.call(DESCRIBE_USERS, 0, {"users": asked}).results
        assert (twice.error_code, missing.error_code) == (ErrorCode.duplicate_resource, ErrorCode.resource_not_found)


def tuple_of(info: object) -> tuple[int, int]:
    return info.mechanism, info.iterations  # type: ignore[attr-defined]  # of a class of kio


def test_unknown_and_known_names_get_salts_of_the_same_shape_at_every_try(part: Part) -> None:
    def challenge(name: str) -> str:
        with WireClient(port_of(part, "SASL_PLAINTEXT")) as client:
            handshake(client, "SCRAM-SHA-256")
            scram = ScramClient(SCRAM_MECHANISMS["SCRAM-SHA-256"], name, b"x")
            return str(send_token(client, scram.first()).auth_bytes.decode()).partition(",")[2]

    assert challenge("nobody") == challenge("nobody") != challenge("nobody-else")
    assert challenge("nobody").partition(",i=")[2] == challenge("alice").partition(",i=")[2]


def test_of_a_flood_of_failed_logins_twenty_lines_are_written_in_ten_seconds(part: Part) -> None:
    def told() -> list[dict[str, object]]:
        lines = [json.loads(line) for line in part.log_file.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["msg"] == "login failed"]

    before = len(told())
    for _ in range(3 * LINES):
        with WireClient(port_of(part, "SASL_PLAINTEXT")) as client:
            log_in(client, "PLAIN", "alice", "wrong")
    assert len(told()) - before <= 2 * LINES, "those of two windows, if one ends meanwhile"
    assert {"client", "mechanism", "user", "reason"} <= told()[0].keys()


def test_a_login_that_does_not_come_in_time_closes_its_connection(tmp_path: Path) -> None:
    with secured(tmp_path, {"request.receive.timeout.ms": 1000}) as part:
        put_user(part, "alice", "wonderland")
        with contextlib.ExitStack() as stack:
            asking, begun, done = (stack.enter_context(WireClient(port_of(part, "SASL_PLAINTEXT"))) for _ in range(3))
            assert log_in(done, "SCRAM-SHA-256", "alice", "wonderland").error_code == 0
            assert asking.call(API_VERSIONS, 0, {}).error_code == 0
            assert handshake(begun, "SCRAM-SHA-256").error_code == 0
            for late in (asking, begun):
                with pytest.raises(AssertionError, match="closed"):
                    late.receive_bytes()
            assert metadata(done).brokers, "who has logged in may be silent"

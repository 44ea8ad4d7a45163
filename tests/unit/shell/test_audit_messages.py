"""headrace.audit: what agent, loader and audit must agree on."""

import json

import pytest
import xxhash

from headrace.audit import AgentMessage, RetiredMessage, SentMessage, Total, event_hash, parse_message, window_start_ms
from headrace.errors import CorruptError, VersionError

SENT = SentMessage("app", "a-1", "r-9", 1_200_000, 5, 320, 0xFFEE, {3: 17}, {"destroyed": 2}, 1)
AGENT = AgentMessage("a-1", "r-9", "web-7", "0.1.0", "active", 1_234_567, {"app": {3: 17}}, {"app": Total(9, 0xAB)}, 1_240_000)
BEFORE = AgentMessage("a-1", "r-9", "web-7", "0.1.0", "active", 1_234_567, {"app": {3: 17}})
CHAPTER = SentMessage("app", "a-1", "r-9", 1_200_000, 5, 320, 0xFFEE, {3: 17}, {}, 0, chapter=4)
RETIRED = RetiredMessage("a-1", 1_234_567)


@pytest.mark.parametrize("message", [SENT, AGENT, BEFORE, CHAPTER, RETIRED, RetiredMessage("a-1", None)])
def test_a_message_is_read_as_it_was_written(message: SentMessage | AgentMessage | RetiredMessage) -> None:
    assert parse_message(message.key.encode(), message.encode()) == message


def test_the_keys_are_those_of_the_protocol() -> None:
    assert SENT.key == "sent/app/a-1/r-9/1200000"
    assert AGENT.key == "agent/a-1/r-9"
    assert CHAPTER.key == "sent/app/a-1/r-9/1200000/4"
    assert RETIRED.key == "retired/a-1"


def test_only_what_an_older_reader_would_misread_is_written_under_a_newer_version() -> None:
    versions = {message.key: json.loads(message.encode())["version"] for message in (SENT, AGENT, CHAPTER, RETIRED)}
    assert {key for key, version in versions.items() if version > 1} == {CHAPTER.key}


def test_a_newer_version_is_refused() -> None:
    newer = AGENT.encode().replace(b'"version":1', b'"version":3')
    with pytest.raises(VersionError, match="upgrade"):
        parse_message(AGENT.key.encode(), newer)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"agent/a", b"{}"),
        (b"agent/a/b", b"{}"),
        (b"sent/t/a/r/x", SENT.encode()),
        (b"sent/t/a/r/%d" % (1 << 63), SENT.encode()),
        (b"agent/a/b", b"\xff"),
        (b"agent/a/b", b"[]"),
        (b"sent/t/a/r/600000/1/2", SENT.encode()),
        (b"sent/t/a/r/600000", SENT.encode().replace(b'"count":5', b'"count":"5"')),
        (b"sent/t/a/r/600000", SENT.encode().replace(b'"count":5', b'"count":-5')),
        (b"sent/t/a/r/600000", SENT.encode().replace(b'"3":17', b'"3":1e400')),
        (b"agent/a/b", AGENT.encode().replace(b'"active"', b'"asleep"')),
        (b"retired/a", b'{"version":1,"at_ms":"now"}'),
    ],
)
def test_damage_is_an_error_of_ours(key: bytes, value: bytes) -> None:
    with pytest.raises(CorruptError):
        parse_message(key, value)


def test_an_unknown_kind_of_key_is_passed_over() -> None:
    assert parse_message(b"tier/x", b"?") is None


def test_windows_are_ten_minutes_also_before_the_epoch() -> None:
    assert [window_start_ms(t) for t in (1_199_999, 1_200_000, -1)] == [600_000, 1_200_000, -600_000]


def test_the_hash_is_of_identity_and_bytes() -> None:
    assert event_hash("a", "s", 7, 2, b"line\xff") == xxhash.xxh64_intdigest(b"a/s/7/2\nline\xff")
    assert event_hash("a", "s", 7, 2, b"line") != event_hash("a", "s", 7, 3, b"line")

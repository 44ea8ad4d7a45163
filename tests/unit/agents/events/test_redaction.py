"""Redaction: what is hidden, in the message and in fields, what is left, and that a hash tells equal ones alone."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.agents.events.encoder import ChunkEncoder
from headrace.agents.events.pipeline import definition
from headrace.agents.events.transforms.record import Record
from headrace.agents.events.transforms.redaction import redact, redaction_key
from headrace.agents.rows import ChunkRow, LineHead, StreamRow
from headrace.audit import event_hash
from tests.envelopes import event_of

AGENT = "6d4b7f0e-7f3c-4a52-8f5c-3f4f9f6a1c11"
STREAM = StreamRow("s-1", "logs", 3, "h", "web", "/var/log/web.log", "/var/log/web.log", 1, 2, 0)
ALL = {"email": True, "card": True, "patterns": ["token=[a-z0-9]+", "é+", "(q+)+$"]}


def cleaned(text: str, **rule: Any) -> str:
    record = Record(None, 0, {}, None)
    record.text = text
    assert redact(rule or ALL)(record) is None
    return record.text


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("from jane.doe+x@mail.example.com, to <o'neil@example.org>.", "from [email], to <[email]>."),
        ("grüße@müller.example and 用户@例子.公司", "[email] and [email]"),
        ("a@b, @here, user@localhost, x@1.2.3.4", "a@b, @here, user@localhost, x@1.2.3.4"),
        ("a@b.cc@d.ee", "******@d.ee"),
        ("card 4111111111111111.", "card [card]."),
        ("card 4111 1111 1111 1111 exp 12/27", "card [card] exp 12/27"),
        ("card 4111-1111-1111-1111 12 2024", "card [card] 12 2024"),
        ("5555555555554444,378282246310005;6011000990139424", "[card],[card];[card]"),
        (
            "not: 4111111111111112 1795424400123 94111111111111111119",
            "not: 4111111111111112 1795424400123 94111111111111111119",
        ),
        ("id4222222222222 no word bound", "id[card] no word bound"),
        ("token=abc123&token=,é", "[redacted]&token=,*"),
        ("", ""),
        ("nothing", "nothing"),
        ("many qqq", "many ***"),
        ("b@c.dd e@f.ggg", "****** [email]"),
    ],
)
def test_what_is_hidden_and_what_is_left(text: str, clean: str) -> None:
    assert cleaned(text) == clean


def test_an_expression_that_matches_nothing_hides_nothing_there() -> None:
    assert cleaned("axxb", patterns=["x*"]) == "a**b"


def test_a_keyed_hash_tells_equal_ones_and_hides_the_secret() -> None:
    key = redaction_key("a secret of sixteen")
    assert "secret" not in key
    one = cleaned("another@mail.example.com someone@mail.example.com another@mail.example.com", email=True, key=key)
    first, second, third = one.split(" ")
    assert first == third != second
    assert first.startswith("[email:")
    assert len(first) == len("[email:]") + 16
    assert cleaned("another@mail.example.com", email=True, key=redaction_key("another secret of sixteen")) != first
    short = cleaned("a@example.com b@example.com a@example.com", email=True, key=key).split(" ")
    assert [len(digits) for digits in short] == [len("a@example.com")] * 3
    assert short[0] == short[2] != short[1]


@given(st.text(), st.booleans())
def test_no_message_becomes_longer(text: str, hashed: bool) -> None:
    clean = cleaned(text, email=True, patterns=[".", "e+"], **({"key": redaction_key("a secret of sixteen")} if hashed else {}))
    assert len(clean) <= len(text)
    assert len(clean.encode()) <= len(text.encode())


def encoded(data: bytes, row: ChunkRow) -> list[dict[str, Any]]:
    events = []
    result = ChunkEncoder(AGENT, b"").encode(STREAM, row, data)
    hashes = 0
    for value in result.values:
        event = event_of(value, header_bytes=0)
        line = event["message"].encode(event["encoding"])
        hashes += event_hash(AGENT, "s-1", event["position"], event["part"], line)
        events.append(event)
    assert sum(tally.content_hash for tally in result.windows.values()) % 2**64 == hashes % 2**64
    assert sum(tally.bytes_total for tally in result.windows.values()) == sum(
        len(event["message"].encode(event["encoding"])) for event in events
    )
    return events


def row(data: bytes, *, split_bytes: int = 1000, line: LineHead | None = None) -> ChunkRow:
    pipeline = definition(parse={"type": "json"}, transforms=[{"redact": {"email": True}}])
    return ChunkRow("s-1", 1000, 1000 + len(data), 1000, 1000, 1_795_424_400_123, pipeline, split_bytes, "", line)


def test_message_and_fields_are_changed_and_the_audit_counts_what_is_sent() -> None:
    data = b'{"user": "a\\u0040example.com", "to": "b@example.com"}\n\xff c@example.com\nplain\n'
    first, second, third = encoded(data, row(data))
    assert first["message"] == '{"user": "a\\u0040example.com", "to": "[email]"}'
    assert first["fields"] == {"user": "[email]", "to": "[email]"}
    assert (second["message"], second["encoding"]) == ("ÿ [email]", "iso-8859-1")
    assert [event["position"] for event in (first, second, third)] == [1000, 1054, 1070]
    assert [event["since"] for event in (first, second, third)] == [1000, 1054, 1070]


def test_parts_of_long_lines_are_cleaned_one_by_one() -> None:
    data = b"x" * 30 + b" a@example.com\n"
    assert [event["message"] for event in encoded(data, row(data, split_bytes=31))] == ["x" * 30 + " ", "[email]"]
    part = b"b@example.com y"
    (event,) = encoded(part, row(part, line=LineHead("utf-8", None, 4)))
    assert (event["message"], event["part"], event["position"]) == ("[email] y", 4, 1000)


@pytest.mark.parametrize(
    "text",
    [
        "1 " * 300_000,
        "1" * 500_000,
        "a" * 500_000 + "@",
        "@" * 300_000,
        "q" * 500_000 + "a",
        "a." * 200_000 + "@b",
        "4111-1111-1111-1111 " * 20_000,
    ],
)
def test_no_text_takes_long(text: str) -> None:
    before = time.process_time()
    cleaned(text)
    assert time.process_time() - before < 5, "what is not linear takes minutes for these"

"""Functions of the user's: what they may answer, what their failures become, and that a repeat does not ask again."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headrace.agents.events.encoded import Encoded
from headrace.agents.events.encoder import ChunkEncoder
from headrace.agents.events.pipeline import definition
from headrace.agents.events.transforms.function import digest_of, loaded, split_name
from headrace.agents.rows import ChunkRow, StreamRow
from tests.envelopes import event_of

STREAM = StreamRow("s-1", "logs", 3, "h", "web", "/var/log/web.log", "/var/log/web.log", 1, 2, 0)
SOURCE = """
calls = 0

def change(event):
    global calls
    calls += 1
    message, fields = event["message"], event["fields"]
    if message == "drop":
        return None
    if message == "raise":
        raise RuntimeError("no " + "x" * 1000)
    if message == "nothing":
        return 7
    if message == "bytes":
        return {**event, "message": b"bytes"}
    if message == "long":
        return {**event, "message": "x" * 900_000}
    if message == "surrogate":
        return {**event, "message": "\\ud800", "fields": {"a": "\\ud800"}}
    fields["call"] = calls
    fields["where"] = [event["host"], event["service"], event["source"], event["position"]]
    fields["none"] = None
    return {**event, "message": message.rstrip("_").upper() + " →"}
"""


def function(directory: Path, source: str = SOURCE) -> dict[str, str]:
    file = directory / "mine.py"
    file.write_text(source)
    name = f"{file}:change"
    return {"function": name, "digest": digest_of(name)}


def row(step: dict[str, str], data: bytes, *more: dict[str, Any]) -> ChunkRow:
    pipeline = definition(parse={"type": "plain"}, transforms=[{"python": step}, *more])
    return ChunkRow("s-1", 0, len(data), 0, 0, 1_795_424_400_123, pipeline, 1_000_000, "")


def events(encoded: Encoded) -> list[Any]:
    return [event_of(value, header_bytes=0) for value in encoded.values]


def test_message_and_fields_are_what_the_function_answers(tmp_path: Path) -> None:
    data = b"one____\n\xff______\ndrop\nlast\n"
    encoded = ChunkEncoder("a", b"").encode(STREAM, row(function(tmp_path), data), data)
    first, second, last = events(encoded)
    assert first["message"] == "ONE →"
    assert first["fields"] == {"call": "1", "where": '["h", "web", "/var/log/web.log", 0]'}
    assert (second["message"], second["encoding"]) == ("Ÿ →", "utf-8")
    assert (last["position"], last["since"], encoded.left_out) == (21, 16, {"python": 1})
    assert last["fields"]["transform_error"].startswith("ValueError: message must not be longer than the line, 4 bytes")


def test_a_failure_ships_the_line_as_it_is_and_the_next_steps_see_it(tmp_path: Path) -> None:
    data = b"raise\nnothing\nbytes\nlong\nsurrogate\n"
    encoded = ChunkEncoder("a", b"").encode(STREAM, row(function(tmp_path), data, {"add": {"b": "c"}}), data)
    found = [(event["message"], event["fields"]) for event in events(encoded)]
    assert [message for message, _ in found] == ["raise", "nothing", "bytes", "long", r"\ud800"]
    assert all(fields["b"] == "c" for _, fields in found)
    errors = [fields.get("transform_error", "") for _, fields in found]
    assert errors[0] == ("RuntimeError: no " + "x" * 1000)[:300]
    assert [error.split(":")[0] for error in errors] == ["RuntimeError", "TypeError", "TypeError", "ValueError", ""]
    assert found[4][1] == {"a": r"\ud800", "b": "c"}


def test_a_repeat_takes_the_answers_and_does_not_ask_again(tmp_path: Path) -> None:
    data = b"one____\ndrop\nraise\ntwo____\n"
    step = function(tmp_path)
    chunk = row(step, data)
    first = ChunkEncoder("a", b"").encode(STREAM, chunk, data)
    assert ChunkEncoder("a", b"").encode(STREAM, chunk, data).values != first.values
    (tmp_path / "mine.py").unlink()
    repeated = ChunkEncoder("a", b"").encode(STREAM, replace(chunk), data, first.answers)
    assert repeated == first


def test_a_file_that_is_written_again_at_once_is_read_again(tmp_path: Path) -> None:
    for number in range(3):
        step = function(tmp_path, f"def change(event):\n    return {number}\n")
        assert loaded(step["function"], step["digest"])({}) == number


def test_a_changed_file_is_another_function(tmp_path: Path) -> None:
    step = function(tmp_path)
    other = function(tmp_path, "def change(event):\n    return None\n")
    assert step["function"] == other["function"]
    assert step["digest"] != other["digest"]
    encoded = ChunkEncoder("a", b"").encode(STREAM, row(other, b"x\n"), b"x\n")
    assert encoded.left_out == {"python": 1}


@pytest.mark.parametrize("name", ["", "x", "x:", ":x", "x:y z", "a.py"])
def test_a_name_that_names_no_function_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="module:function"):
        split_name(name)


def test_what_cannot_be_loaded_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No such file"):
        digest_of(f"{tmp_path}/gone.py:f")
    for source, message in [
        ("def", "SyntaxError"),
        ("1/0", "ZeroDivisionError"),
        ("x = 1", "AttributeError"),
        ("change = 1", "is no function"),
    ]:
        step = function(tmp_path, source)
        with pytest.raises(ValueError, match=message):
            loaded(step["function"], step["digest"])
    with pytest.raises(ValueError, match="no_such_module"):
        loaded("no_such_module:f", "")
    assert loaded("copy:copy", "")({"a": "b"}) == {"a": "b"}

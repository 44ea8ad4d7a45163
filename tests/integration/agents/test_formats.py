"""Files of many formats and encodings, with the defaults and with a parser: every byte comes back, in order, with its time."""

import json
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from headrace.agents.events.pipeline import AUTO, compiled
from tests.integration.agents.rig import Rig

SAMPLES = Path(__file__).parents[2] / "unit" / "agents" / "events" / "format_samples.ndjson"
TEXT = "2026-11-26 14:05:06 エラー 错误 ok\r\nsecond 上 line\n"
FILES = {
    "empty": b"",
    "blank": b"\n\n\r\n \n",
    "utf-16": ("\ufeff" + TEXT).encode("utf-16-le"),
    "utf-16-be": ("\ufeff" + TEXT).encode("utf-16-be"),
    "utf-8-with-mark": ("\ufeff" + TEXT).encode(),
    "shift-jis": "エラー\nソ表\n".encode("shift-jis"),
    "gbk": "错误\n发生\n".encode("gbk"),
    "latin": "Zürich\nGenève\n".encode("iso-8859-1"),
    "all-bytes": bytes(range(256)) * 4 + b"\n",
    "nul-padded": b"before\n" + bytes(70_000) + b"2026-11-26 14:05:06 after\n",
    "progress": b"\r".join(b"%d%%" % percent for percent in range(101)) + b"\ndone\n",
    "long": b"[" * 3_000_000 + b"\n" + b'{"a":' * 400_000 + b"\n" + b"a=" * 100_000 + b"\n",
    "pretty-json": json.dumps({"a": {"b": [1, 2]}, "c": "ü"}, indent=2, ensure_ascii=False).encode() + b"\n",
    "yaml": b"---\na: 1\nb:\n  - c\n...\n",
    "open-end": b"first\nlast without a newline",
}


def written(logs: Path) -> Mapping[str, bytes]:
    """Every file's content, by its path; each format's samples are a file."""
    lines = defaultdict(list)
    for sample in map(json.loads, SAMPLES.read_text("ascii").splitlines()):
        lines["".join(letter if letter.isalnum() else "-" for letter in sample["format"])].append(sample["line"])
    formats = {name: "".join(f"{line}\n" for line in each).encode() for name, each in lines.items()}
    files = {str(logs / f"{name}.log"): data for name, data in (formats | FILES).items()}
    for path, data in files.items():
        Path(path).write_bytes(data)
    return files


def content(events: list[dict[str, Any]]) -> bytes:
    """A file's bytes, put together from its events."""
    events.sort(key=lambda event: (event["position"], event["part"]))
    pieces = [b"" if event["part"] or not number else b"\n" for number, event in enumerate(events)]
    return b"".join(piece + event["message"].encode(event["encoding"]) for piece, event in zip(pieces, events, strict=True))


def by_file(parts: Rig) -> Mapping[str, list[dict[str, Any]]]:
    found = defaultdict(list)
    for event in parts.distinct():
        found[event["source"]].append(event)
    return found


def us(moment: datetime) -> int:
    return int(moment.replace(microsecond=0).timestamp()) * 1_000_000 + moment.microsecond


def test_files_of_every_format_come_back_byte_for_byte_with_their_times(parts: Rig) -> None:
    files = written(parts.logs)
    parts.ship()
    found = by_file(parts)
    for path, data in files.items():
        assert content(found[path]) == data.removesuffix(b"\n"), path
    pipeline = compiled(AUTO)
    for event in (event for events in found.values() for event in events if len(event["message"]) < 1000):
        time_us = pipeline.time_of(event["message"], us(event["read_time"]))
        assert us(event["event_time"]) == (us(event["read_time"]) if time_us is None else time_us), event
        assert event["event_time_source"] == ("read" if time_us is None else "line")
    utf_16 = found[str(parts.logs / "utf-16.log")][0]
    assert utf_16["event_time"] == datetime(2026, 11, 26, 14, 5, 6, tzinfo=UTC)
    told = [line for line in parts.agents[-1].log_file.read_text().splitlines() if "is UTF-16" in line]
    assert [sum(f"/{name}.log" in line for line in told) for name in ("utf-16", "utf-16-be", "gbk")] == [1, 1, 0]
    parts.check_audit()


def test_what_a_parser_does_not_understand_comes_back_too_with_the_reason(parts: Rig) -> None:
    files = written(parts.logs)
    parts.ship(inputs=[{"tail": [str(parts.logs / "*.log")], "topic": "logs", "parse": "json"}])
    found = by_file(parts)
    for path, data in files.items():
        assert content(found[path]) == data.removesuffix(b"\n"), path
    for event in found[str(parts.logs / "redis.log")]:
        assert event["fields"] == {"parse_error": "not a JSON object"}
    assert all(event["fields"]["msg"] for event in found[str(parts.logs / "mongodb.log")])
    parts.check_audit()


def test_lines_of_a_charset_have_their_text_beside_the_message_and_their_fields_from_it(parts: Rig) -> None:
    lines = ['level=info msg="错误 发生"', "plain 上 text", "ascii", "grüezi"]
    data = b"\n".join([*(line.encode("gbk") for line in lines[:3]), lines[3].encode()])
    (parts.logs / "a.log").write_bytes(data + b"\n")
    parts.ship(inputs=[{"tail": [str(parts.logs / "*.log")], "topic": "logs", "parse": {"charset": "gbk"}}])
    events = by_file(parts)[str(parts.logs / "a.log")]
    assert content(events) == data
    assert [event["fields"] for event in events] == [
        {"text": lines[0], "level": "info", "msg": "错误 发生"}, {"text": lines[1]}, {}, {},
    ]  # fmt: skip
    parts.check_audit()

"""What is refused for good is durable, whole, within its bound, and says what it was."""

import base64
import json
from dataclasses import replace
from pathlib import Path

import pytest

from headrace.agents.rejected import Rejected, RejectedRecord
from headrace.errors import StorageError

RECORD = RejectedRecord(
    "MSG_SIZE_TOO_LARGE", "logs", 3, 1_795_424_400_123, "a-1", "s-1", 700, 699, 2, 750, "record", b"\0\xffvalue",
    1_795_424_400_000,
)  # fmt: skip


def rows(directory: Path, topic: str = "logs") -> list[dict[str, object]]:
    return [json.loads(line) for line in (directory / f"{topic}.jsonl").read_bytes().splitlines()]


def test_a_row_says_why_where_to_and_which_record_it_was(tmp_path: Path) -> None:
    Rejected(tmp_path / "rejected", 10_000).keep([RECORD, replace(RECORD, position=900)])
    first, second = rows(tmp_path / "rejected")
    assert base64.b64decode(str(first.pop("value"))) == b"\0\xffvalue"
    assert first == {
        "version": 1, "error": "MSG_SIZE_TOO_LARGE", "topic": "logs", "partition": 3, "timestamp_ms": 1_795_424_400_123,
        "agent_id": "a-1", "stream_id": "s-1", "position": 700, "since": 699, "part": 2, "end": 750, "content": "record",
        "window_start_ms": 1_795_424_400_000, "in_headers": False, "told": None,
    }  # fmt: skip
    assert second["position"] == 900


def test_as_headers_it_has_the_names_of_the_identity() -> None:
    assert dict(RECORD.headers()) == {
        "reason": b"MSG_SIZE_TOO_LARGE", "topic": b"logs", "partition": b"3", "agent_id": b"a-1", "stream_id": b"s-1",
        "position": b"700", "since": b"699", "part": b"2", "end": b"750", "content": b"record",
    }  # fmt: skip


@pytest.mark.parametrize("torn", [b'{"version": 1, "err', b"x" * 200_000])
def test_what_a_crash_left_of_a_row_is_cut_off(tmp_path: Path, torn: bytes) -> None:
    Rejected(tmp_path, 10**6).keep([RECORD])
    with (tmp_path / "logs.jsonl").open("ab") as file:
        file.write(torn)
    Rejected(tmp_path, 10**6).keep([replace(RECORD, position=900)])
    assert [row["position"] for row in rows(tmp_path)] == [700, 900]


def test_at_its_bound_it_takes_nothing_until_there_is_room_again(tmp_path: Path) -> None:
    rejected = Rejected(tmp_path, 3 * len(RECORD.row()))
    rejected.keep([RECORD, RECORD])
    with pytest.raises(StorageError, match=r"agent\.rejected_max_bytes: move its files away"):
        rejected.keep([RECORD, RECORD])
    assert len(rows(tmp_path)) == 2
    (tmp_path / "logs.jsonl").rename(tmp_path.parent / "elsewhere")
    rejected.keep([RECORD, RECORD])
    assert len(rows(tmp_path)) == 2


def test_a_directory_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "logs.jsonl").mkdir()
    with pytest.raises(StorageError, match="make room, the agent waits"):
        Rejected(tmp_path, 10**6).keep([RECORD])

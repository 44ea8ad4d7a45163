"""`headrace agent rejected`: each record once, by reason, as it is; also while the agent writes."""

import base64
import json
from dataclasses import replace
from pathlib import Path

import pytest

from headrace.agents.events.encoded import Told
from headrace.agents.rejected import Rejected, RejectedRecord
from headrace.cli import main

TOLD = Told(None, "utf-8", "h", "web", "/var/log/web.log", {}, is_part=False)
RECORD = RejectedRecord(
    "field id: missing", "logs", 3, 1_795_424_400_123, "a-1", "s-1", 700, 699, 0, 707, "line", b"no\tJSON", 1_795_424_400_000,
    in_headers=True, told=TOLD,
)  # fmt: skip


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    rejected = Rejected(tmp_path / "rejected", 10**6)
    rejected.keep([RECORD, replace(RECORD, position=900, timestamp_ms=RECORD.timestamp_ms + 1000)])
    rejected.keep([RECORD])  # again, after a crash
    rejected.keep([replace(RECORD, topic="web", error="MSG_SIZE_TOO_LARGE", content="record")])
    with (tmp_path / "rejected" / "web.jsonl").open("ab") as file:
        file.write(b'{"version": 1, "err')
    return tmp_path


def rejected(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["agent", "rejected", *arguments]) == 0
    return capsys.readouterr().out


def test_records_are_counted_once_by_topic_and_reason(state_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = rejected(capsys, "list", "--state-dir", str(state_dir), "--format", "json")
    assert [json.loads(line) for line in out.splitlines()] == [
        {
            "topic": "logs", "error": "field id: missing", "content": "line", "records": 2,
            "first": "2026-11-23T09:00:00.123Z", "last": "2026-11-23T09:00:01.123Z",
        },
        {
            "topic": "web", "error": "MSG_SIZE_TOO_LARGE", "content": "record", "records": 1,
            "first": "2026-11-23T09:00:00.123Z", "last": "2026-11-23T09:00:00.123Z",
        },
    ]  # fmt: skip


def test_a_record_is_shown_as_text_to_people_and_whole_to_programs(state_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = ("--state-dir", str(state_dir), "--topic", "logs", "--limit", "1")
    assert "no·JSON" in rejected(capsys, "show", *place)
    (line,) = rejected(capsys, "show", *place, "--format", "json").splitlines()
    row = json.loads(line)
    assert (base64.b64decode(row["value"]), row["position"], row["since"]) == (b"no\tJSON", 700, 699)


def test_nothing_rejected_is_an_empty_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rejected(capsys, "list", "--state-dir", str(tmp_path), "--format", "json") == ""


def test_a_row_of_a_newer_version_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rejected").mkdir()
    (tmp_path / "rejected" / "logs.jsonl").write_text('{"version": 2}\n')
    assert main(["agent", "rejected", "list", "--state-dir", str(tmp_path)]) == 1
    assert "upgrade it" in capsys.readouterr().err


def test_people_are_told_that_there_is_nothing_and_programs_get_nothing(
    tmp_path: Path, state_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rejected(capsys, "list", "--state-dir", str(tmp_path / "none")) == "nothing is rejected\n"
    assert rejected(capsys, "show", "--state-dir", str(state_dir), "--topic", "app") == "nothing of topic app is rejected\n"
    assert rejected(capsys, "list", "--state-dir", str(tmp_path / "none"), "--format", "json") == ""

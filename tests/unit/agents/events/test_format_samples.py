"""Lines as widespread programs write them (their documentation is named beside each), read with the defaults.

Each has its time where one is plainly there, and none where there is none; fields are those that `auto` finds.
"""

import json
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from headrace.agents.events import time_forms, timestamps
from headrace.agents.events.pipeline import AUTO, compiled
from headrace.agents.events.zones import local_time

READ_US = 1_795_741_200_000_000  # 2026-11-27T01:00:00Z
SAMPLES = [json.loads(line) for line in (Path(__file__).parent / "format_samples.ndjson").read_text("ascii").splitlines()]


def us(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return int(moment.replace(microsecond=0).timestamp()) * 1_000_000 + moment.microsecond


@pytest.mark.parametrize("sample", SAMPLES, ids=[f"{number}-{sample['format']}" for number, sample in enumerate(SAMPLES)])
def test_a_line_has_its_time_and_fields(sample: dict[str, Any]) -> None:
    pipeline = compiled(AUTO)
    expected = None if sample["time"] is None else us(sample["time"])
    assert pipeline.time_of(sample["line"], READ_US) == expected
    assert pipeline.parse(sample["line"], READ_US)[1] == sample.get("fields", {})


def test_zones_by_name_are_believed_where_they_mean_one_zone() -> None:
    zurich = local_time("Europe/Zurich")
    for line, expected in (
        ("2026-11-26 14:05:06.123 EST x", "2026-11-26T14:05:06.123-05:00"),
        ("2026-11-26 14:05:06.123 UTC x", "2026-11-26T14:05:06.123+00:00"),
        ("2026-11-26 14:05:06.123 CST x", "2026-11-26T14:05:06.123+01:00"),
        ("2026-11-26 14:05:06.123 ERROR x", "2026-11-26T14:05:06.123+01:00"),
        ("[26-Nov-2026 14:05:06 Asia/Kolkata] x", "2026-11-26T14:05:06+05:30"),
        ("[26-Nov-2026 14:05:06 No/Where] x", "2026-11-26T14:05:06+01:00"),
    ):
        assert time_forms.at_start(line, READ_US, zurich) == us(expected), line


def test_hours_that_come_twice_or_never_are_near_what_was_meant() -> None:
    zurich = local_time("Europe/Zurich")
    for line, expected in (
        ("26-Oct-2025 02:30:00 x", "2025-10-26T00:30:00+00:00"),
        ("30-Mar-2025 02:30:00 x", "2025-03-30T01:30:00+00:00"),
    ):
        assert time_forms.at_start(line, READ_US, zurich) == us(expected), line


@pytest.mark.parametrize(
    "line",
    [
        "29 Feb 2025 14:05:06", "31.02.2026 14:05:06", "13/26/2026 2:05:06 PM", "11/26/2026 13:05:06 PM",
        "26-Foo-2026 14:05:06", "20261399140506", "2026-11-26T25:00", "2026-11-26T24:00:01", "Nov 31, 2026 2:05:06 PM",
        "0000-00-00T00:00",
        "9999-12-31T24:00:00 x", "type=EOE msg=audit(", "[\x1b[[[[(((", "1795701906123456789012", "[12:34] hi",
        "I1399 14:05:06.123456 1",
        "٢٠٢٦-١١-٢٦ ١٤:٠٥:٠٦", "12.5 % of 2026",
        "3 Nov 14:05:06",
    ],
)  # fmt: skip
def test_what_is_no_moment_is_none(line: str) -> None:
    found = time_forms.at_start(line, READ_US)
    assert found is None or not timestamps.plausible(found, READ_US)


def test_what_is_looked_at_of_a_line_has_a_bound() -> None:
    pieces = ("[", "[a]", "\x1b[0m", "I, ", "# Time: ", "[01/Nov/2026:0", '<Event a="', "Started GET ", "1 ", "((((", "\0")
    for piece in pieces:
        began = time.process_time()
        assert time_forms.at_start(piece * (8_000_000 // len(piece)), READ_US) is None
        assert time.process_time() - began < 1, piece

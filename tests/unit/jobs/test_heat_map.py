"""The heat map: topics × hours. Its cells are the verdict's own, and nothing that a name holds does anything."""

import json
import re
from dataclasses import replace

import pytest

from headrace.jobs.audit.heat import HOUR_MS, heat_map
from headrace.jobs.audit.judged import Windows
from headrace.jobs.audit.page import page
from headrace.jobs.audit.picture import COLOURS, write_png
from headrace.jobs.audit.reasons import REMEDIES, Reason
from headrace.jobs.audit.report import print_report
from tests.audit_verdicts import DAY, verdict


def _data(text):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text).group(1))


def test_a_cell_is_an_hour_and_a_fault_in_it_is_seen_beside_what_is_unknown():
    drawn = heat_map(verdict(logs="cccccc" + "ciuccc" + "ccuccc"))
    assert (drawn.start_ms, drawn.span_ms, drawn.spans) == (DAY, HOUR_MS, 3)
    assert [drawn.rows[0][n].state for n in range(3)] == ["complete", "incomplete", "unknown"]


def test_incomplete_topics_come_first_and_an_hour_without_windows_is_no_cell():
    drawn = heat_map(verdict(calm="c" * 6 + "." * 6 + "c", slow="u", bad="ii"))
    assert drawn.topics == ["bad", "slow", "calm"]
    assert sorted(drawn.rows[2]) == [0, 2]


@pytest.mark.parametrize(
    ("hours", "span_hours", "spans"), [(3, 1, 3), (24, 1, 24), (24 * 90, 12, 180), (24 * 365 * 30, 1320, 200)]
)
def test_any_time_is_no_wider_than_can_be_read(hours, span_hours, spans):
    drawn = heat_map(verdict(logs="c" + "." * (hours * 6 - 2) + "c"))
    assert (drawn.span_ms // HOUR_MS, drawn.spans) == (span_hours, spans)


def test_the_cells_of_the_page_add_up_to_the_rows_of_the_json_report(capsys):
    found = verdict(logs="c" * 20 + "iu" * 9, other="c..uci")
    print_report(found, "json")
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    data = _data(page(found))
    for topic, cells in zip(data["topics"], data["cells"], strict=True):
        for n, name in enumerate(data["sums"]):
            assert sum(cell["sums"][n] for cell in cells.values()) == sum(row[name] for row in rows if row["topic"] == topic)
        for n, state in enumerate(data["states"]):
            counted = sum(cell["windows"][n] for cell in cells.values())
            assert counted == sum(row["state"] == state for row in rows if row["topic"] == topic)


def test_names_are_text_in_the_page():
    name = "</script><script>alert(1)</script>\"'&"
    text = page(verdict(**{name: "ciu"}))
    assert "<script>alert" not in text
    assert text.count("<script") == 2
    assert _data(text)["topics"] == [name]
    assert "default-src 'none'" in text


def test_each_reason_of_a_cell_is_told_once_with_what_to_do():
    data = _data(page(verdict(logs="ciuuuc")))
    assert data["cells"][0]["0"]["reasons"] == [["2025-11-23 00:10", 0], ["2025-11-23 00:20", 1]]
    assert "3 are missing" in data["reasons"][0]
    assert [data["remedies"][kind] for kind in data["kinds"]] == [REMEDIES["missing"], REMEDIES["silent"]]


def test_a_page_is_bounded_and_counts_what_it_leaves_out():
    """Sixty hours of each topic, and no two reasons alike."""
    found = verdict(**{f"topic{n:03}": ("i" + "." * 5) * 60 for n in range(201)})
    unlike = []
    for topic in found.topics:
        windows = (
            replace(
                window, reasons=tuple(Reason(reason.kind, f"{window.topic} {n} {reason * 20}") for reason in window.reasons)
            )
            for n, window in enumerate(topic.windows)
        )
        unlike.append(replace(topic, windows=Windows(windows)))
    text = page(replace(found, topics=tuple(unlike)), trouble="why " * 10_000)
    data = _data(text)
    assert len(text) < 12_000_000
    assert (len(data["topics"]), len(data["reasons"])) == (200, 10_000)
    assert sum(cell["more"] for cells in data["cells"] for cell in cells.values()) == 200 * 60 - 10_000
    assert "only the worst 200 are shown" in text


def test_a_page_before_anything_was_judged_says_so_and_why():
    text = page(None, trouble="<no> such directory", again_s=60)
    assert "nothing judged yet" in text
    assert "&lt;no&gt; such directory" in text
    assert _data(text)["again"] == 60


@pytest.mark.parametrize(
    ("hours", "labels"),
    [
        (3, {0: "11-23", 1: "01", 2: "02"}),
        (25, {0: "11-23", 6: "06", 12: "12", 18: "18", 24: "11-24"}),
        (24 * 30, {16: "11-27", 44: "12-04", 72: "12-11", 100: "12-18"}),
    ],
)
def test_labels_stand_at_round_times(hours, labels):
    assert heat_map(verdict(logs="c" + "." * (hours * 6 - 2) + "c")).ticks(6) == labels


def test_states_differ_in_lightness_so_that_hues_need_not_be_told_apart():
    def light(colour):
        linear = [(int(colour[n : n + 2], 16) / 255) ** 2.2 for n in (1, 3, 5)]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    complete, incomplete, unknown = (light(COLOURS[state]) for state in ("complete", "incomplete", "unknown"))
    assert (incomplete + 0.05) / (complete + 0.05) > 1.3
    assert (unknown + 0.05) / (incomplete + 0.05) > 2


@pytest.mark.parametrize("topics", [{}, {"logs": "c" * 18}, {"$x^{$ \x1b[31m": "ciu", "</b>": "u"}])
def test_a_picture_is_whole_whatever_there_is_to_draw(topics, tmp_path):
    file = tmp_path / "map.png"
    write_png(heat_map(verdict(**topics)), file)
    data = file.read_bytes()
    assert data.startswith(b"\x89PNG")
    assert data.rstrip().endswith(b"IEND\xaeB`\x82")
    assert list(tmp_path.iterdir()) == [file]

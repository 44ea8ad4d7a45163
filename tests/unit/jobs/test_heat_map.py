"""The heat map: topics × hours. Its cells are the verdict's own, and nothing that a name holds does anything."""

import json
import re

import pytest

from headrace.jobs.audit.heat import HOUR_MS, heat_map
from headrace.jobs.audit.page import page
from headrace.jobs.audit.picture import COLOURS, write_png
from headrace.jobs.audit.report import print_report
from tests.audit_verdicts import DAY, verdict


def _cells(text):
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
    cells = _cells(page(found))
    for topic in ("logs", "other"):
        for name in ("sent", "landed", "late", "lost"):
            summed = sum(cell["sums"][name] for cell in cells if cell["topic"] == topic)
            assert summed == sum(row[name] for row in rows if row["topic"] == topic)
        for state in COLOURS:
            counted = sum(cell["windows"][state] for cell in cells if cell["topic"] == topic)
            assert counted == sum(row["state"] == state for row in rows if row["topic"] == topic)


def test_names_are_text_in_the_page():
    name = "</script><script>alert(1)</script>\"'&"
    text = page(verdict(**{name: "ciu"}))
    assert "<script>alert" not in text
    assert text.count("<script") == 2
    assert _cells(text)[0]["topic"] == name
    assert "default-src 'none'" in text


def test_each_reason_of_a_cell_is_told_once_with_what_to_do():
    (cell,) = _cells(page(verdict(logs="ciuuuc")))
    assert [reason["span"] for reason in cell["reasons"]] == ["2025-11-23 00:10", "2025-11-23 00:20"]
    assert all(reason["what"] and reason["do"] for reason in cell["reasons"])


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

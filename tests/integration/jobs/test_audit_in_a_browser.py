"""What a browser makes of the audit's page, and what is drawn into the picture: by Chromium, and by pixels."""

import html
import json
import re
from collections import Counter

import pytest

from headrace.jobs.audit.heat import heat_map
from headrace.jobs.audit.page import STYLE, page
from headrace.jobs.audit.picture import COLOURS, write_png
from headrace.jobs.audit.reasons import REMEDIES
from tests.audit_verdicts import verdict
from tests.browser import browse, cells_of, pixels_of

NASTY = "</script><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"
TOPICS = {"bad": "c" * 6 + "ci", "calm": "c" * 12 + "." * 6 + "c" * 6, NASTY: "ccuccc" + "." * 12 + "u"}
DRAWN = {"complete": 4, "incomplete": 1, "unknown": 2}
PROBE = """
const seen = [], td = [...document.querySelectorAll("td[class]")], press = key =>
  document.activeElement.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true}));
const see = () => seen.push(document.getElementById("told").textContent.split("\\n"));
td[0].dispatchEvent(new MouseEvent("mouseover", {bubbles: true})); see();
document.querySelector("td[tabindex='0']").focus(); press("ArrowRight"); see();
press("ArrowDown"); press("ArrowDown"); press("ArrowRight"); see();
document.body.dataset.seen = JSON.stringify(seen);
"""


@pytest.fixture(scope="module")
def found():
    return verdict(**TOPICS)


def drawn_in(pixels, colours):
    return {state: cells_of(pixels, colours[state]) for state in DRAWN}


def test_the_page_shows_a_coloured_cell_an_hour_and_names_as_text(found, tmp_path, missing):
    file = tmp_path / "map.html"
    file.write_text(page(found))
    seen = browse(file.as_uri(), tmp_path, missing)
    assert re.findall(r"<td([^>]*)>", seen.document).count("") == 5
    assert Counter(re.findall(r'<td class="(\w+)"', seen.document)) == DRAWN
    assert len(re.findall("<script", seen.document)) == 2
    assert "<title>headrace audit: unknown</title>" in seen.document
    assert html.escape(NASTY, quote=False) + "</th>" in seen.document
    assert drawn_in(seen.pixels, COLOURS) == {state: count + 1 for state, count in DRAWN.items()}, "and the key"


def test_a_cell_that_is_pointed_at_or_reached_by_keys_tells_its_numbers_and_reasons(found, tmp_path, missing):
    """In a copy that lets a script of ours in, and on a dark screen."""
    file = tmp_path / "map.html"
    file.write_text(re.sub("<meta http-equiv.*?>", "", page(found)).replace("</body>", f"<script>{PROBE}</script></body>"))
    seen = browse(file.as_uri(), tmp_path, missing, dark=True)
    first, second, last = json.loads(html.unescape(re.search('data-seen="(.*?)"', seen.document).group(1)))
    assert first == [
        "bad   2025-11-23 00:00–01:00   complete",
        "windows: 6 complete, 0 incomplete, 0 unknown",
        "600 sent, 0 rejected, 0 dropped, 600 landed, 3 late, 0 quarantined, 0 duplicates, 0 lost",
    ]
    assert second[0] == "bad   2025-11-23 01:00–02:00   incomplete"
    assert second[4:] == [
        "2025-11-23 01:10   agent a (web-1) sent 100, and 97 have landed: 3 are missing",
        f"  → {REMEDIES['missing']}",
    ]
    assert last[0] == "calm   2025-11-23 03:00–04:00   complete", "the hour without windows is passed over"
    dark = dict(re.findall(r"--(\w+):(#\w{6})", STYLE.partition("dark){")[2].partition("\n")[0]))
    assert drawn_in(seen.pixels, {**COLOURS, **dark}) == {state: count + 1 for state, count in DRAWN.items()}


def test_the_picture_has_the_same_cells_in_the_same_colours(found, tmp_path):
    write_png(heat_map(found), tmp_path / "map.png")
    assert drawn_in(pixels_of(tmp_path / "map.png"), COLOURS) == DRAWN

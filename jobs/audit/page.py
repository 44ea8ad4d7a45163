"""The heat map as a page for a browser: one file that fetches nothing.

All text from outside is data in a JSON block, or escaped; the page's script puts it in as text (`textContent`), never as HTML.
A policy in the page lets nothing in but its own style and script.
"""

import base64
import hashlib
import html
import json
from typing import Any, Final

from headrace.jobs.audit.gate import SUMMED, GateVerdict
from headrace.jobs.audit.heat import MARKS, Cell, HeatMap, heat_map
from headrace.jobs.audit.reasons import REMEDIES
from headrace.jobs.audit.report import span
from headrace.jobs.audit.verdict import when

_REASONS: Final = 12

STYLE: Final = """
:root{color-scheme:light dark;--c:#0072b2;--i:#d55e00;--u:#f0e442;--n:#e8e8e8;--bg:#fff;--fg:#111}
@media(prefers-color-scheme:dark){:root{--c:#56b4e9;--i:#e8743b;--u:#f0e442;--n:#333;--bg:#161616;--fg:#eee}}
body{font:14px system-ui,sans-serif;margin:1rem;background:var(--bg);color:var(--fg)}
#map{overflow:auto;max-height:70vh}table{border-collapse:separate;border-spacing:1px}
thead th{position:sticky;top:0;background:var(--bg);z-index:1}
th{font-weight:normal;text-align:left;white-space:nowrap;padding:0 .4rem}tbody th{position:sticky;left:0;background:var(--bg)}
td{padding:0;min-width:14px;height:18px;background:var(--n)}
td button{all:unset;box-sizing:border-box;display:block;width:100%;height:18px;text-align:center;
  font-weight:bold;color:#111;cursor:pointer}
.complete{background:var(--c)}.incomplete{background:var(--i)}.unknown{background:var(--u)}
td button:focus-visible,td button:hover{outline:3px solid var(--fg);outline-offset:-2px}
.key{display:inline-block;width:1.2em;text-align:center;margin:0 .3em 0 1em;color:#111}
#told{min-height:9rem;margin-top:1rem;white-space:pre-wrap;overflow-wrap:anywhere}
"""
SCRIPT: Final = """
"use strict";
const cells = JSON.parse(document.getElementById("data").textContent), told = document.getElementById("told");
const buttons = [...document.querySelectorAll("td button")];
function show(button) {
  const cell = cells[Number(button.dataset.cell)];
  told.textContent = [cell.topic + "   " + cell.span + "   " + cell.state,
    "windows: " + ["complete", "incomplete", "unknown"].map(s => cell.windows[s] + " " + s).join(", "),
    Object.entries(cell.sums).map(([name, count]) => name + " " + count).join(", "),
    ...cell.reasons.flatMap(r => ["", r.span + "   " + r.what, "  \\u2192 " + r.do])].join("\\n");
}
for (const button of buttons) {
  button.addEventListener("focus", () => show(button));
  button.addEventListener("mouseenter", () => show(button));
  button.addEventListener("click", () => button.focus());
}
document.getElementById("map").addEventListener("keydown", event => {
  const cell = event.target.closest("td");
  const step = {ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0]}[event.key];
  if (!cell || !step) return;
  event.preventDefault();
  let row = cell.parentNode, index = cell.cellIndex, next;
  do {
    row = step[0] > 0 ? row.nextElementSibling : step[0] < 0 ? row.previousElementSibling : row;
    index += step[1];
    next = row && row.cells[index];
  } while (next && !next.querySelector("button"));
  if (!next || next.tagName !== "TD") return;
  buttons.forEach(b => b.tabIndex = -1);
  next.firstChild.tabIndex = 0;
  next.firstChild.focus();
});
"""


def page(found: GateVerdict) -> str:
    """The whole page."""
    drawn = heat_map(found)
    cells: list[dict[str, Any]] = []
    body = "\n".join(_row(drawn, n, cells) for n in range(len(drawn.topics)))
    data = json.dumps(cells, separators=(",", ":")).replace("<", "\\u003c")
    policy = f"default-src 'none'; style-src '{_hash(STYLE)}'; script-src '{_hash(SCRIPT)}'"
    key = "".join(f'<span class="key {state}">{mark}&nbsp;</span>{state}' for state, mark in MARKS.items())
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width"><title>headrace audit: {found.state}</title><style>{STYLE}</style></head>
<body><h1>Audit: {found.state}</h1>
<p>As of {when(found.judged_ms)}, times in UTC.{key}</p>
<div id="map"><table><thead><tr><th>topic</th>{_heads(drawn)}</tr></thead><tbody>
{body}
</tbody></table></div>
<div id="told" role="status" aria-live="polite">Point at a cell, or go to one with Tab and the arrow keys.</div>
<script type="application/json" id="data">{data}</script><script>{SCRIPT}</script></body></html>
"""


def _heads(drawn: HeatMap) -> str:
    """A date above the first span of each day, and the hours between where they are few."""
    every = max(1, drawn.spans // 24)
    heads = []
    for first in range(0, drawn.spans, every):
        width = min(every, drawn.spans - first)
        at = when(drawn.start_ms + first * drawn.span_ms)
        heads.append(f'<th colspan="{width}" title="{at}">{at[5:10] if first == 0 or at[11:13] == "00" else at[11:13]}</th>')
    return "".join(heads)


def _row(drawn: HeatMap, number: int, cells: list[dict[str, Any]]) -> str:
    topic, of_topic = drawn.topics[number], drawn.rows[number]
    parts = [f'<tr><th scope="row">{html.escape(topic)}</th>']
    for n in range(drawn.spans):
        cell = of_topic.get(n)
        if cell is None:
            parts.append("<td></td>")
            continue
        told = _cell(topic, cell, drawn.span_ms)
        label = html.escape(f"{topic}, {told['span']}: {cell.state}", quote=True)
        tab = 0 if not cells else -1
        parts.append(
            f'<td class="{cell.state}"><button data-cell="{len(cells)}" tabindex="{tab}" aria-label="{label}">'
            f"{MARKS[cell.state]}</button></td>"
        )
        cells.append(told)
    return "".join([*parts, "</tr>"])


def _cell(topic: str, cell: Cell, span_ms: int) -> dict[str, Any]:
    reasons = cell.reasons()
    return {
        "topic": topic,
        "span": span(cell.start_ms, cell.start_ms + span_ms),
        "state": cell.state,
        "windows": cell.counts(),
        "sums": {name: cell.sum(name) for name in SUMMED},
        "reasons": [
            {"span": when(window.window_start_ms)[:16], "what": str(reason), "do": REMEDIES[reason.kind]}
            for window, reason in reasons[:_REASONS]
        ],
    }


def _hash(text: str) -> str:
    """What a content security policy calls this text."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"

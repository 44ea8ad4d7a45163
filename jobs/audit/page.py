"""The heat map as a page for a browser: one text that fetches nothing. `headrace audit --html` writes it, the part serves it.

All text from outside is data in a JSON block, or escaped; the page's script puts it in as text (`textContent`), never as HTML.
A policy in the page lets nothing in but its own style and script.

It is bounded: 200 topics, the worst first; 200 spans; 12 reasons a cell, of 10,000 different ones in all, 500 letters each.
What is left out is counted where it is missing.
"""

import base64
import hashlib
import html
import json
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

from headrace.jobs.audit.gate import EXIT_STATUS, GateVerdict
from headrace.jobs.audit.heat import MARKS, Cell, HeatMap, heat_map
from headrace.jobs.audit.judged import SUMMED
from headrace.jobs.audit.reasons import REMEDIES, Reason
from headrace.jobs.audit.report import span
from headrace.jobs.audit.wording import when

_TOPICS: Final = 200
_REASONS_OF_CELL: Final = 12
_REASONS: Final = 10_000
_LETTERS: Final = 500
_HEADS: Final = 24

STYLE: Final = """
:root{color-scheme:light dark;--complete:#0072b2;--incomplete:#d55e00;--unknown:#f0e442;--none:#e8e8e8;--bg:#fff;--fg:#111}
@media(prefers-color-scheme:dark){:root{--complete:#56b4e9;--incomplete:#e8743b;--none:#333;--bg:#161616;--fg:#eee}}
body{font:14px system-ui,sans-serif;margin:1rem;background:var(--bg);color:var(--fg)}
#map{overflow:auto;max-height:70vh}table{border-collapse:separate;border-spacing:1px}
thead th{position:sticky;top:0;background:var(--bg);z-index:1}
th{font-weight:normal;text-align:left;white-space:nowrap;padding:0 .4rem}
tbody th{position:sticky;left:0;background:var(--bg);max-width:20rem;overflow:hidden;text-overflow:ellipsis}
td{padding:0;min-width:14px;height:18px;background:var(--none);text-align:center;font-weight:bold;color:#111}
td[class]{cursor:pointer}td:focus-visible,td[class]:hover{outline:3px solid var(--fg);outline-offset:-2px}
.complete{background:var(--complete)}.incomplete{background:var(--incomplete)}.unknown{background:var(--unknown)}
.key{display:inline-block;width:1.2em;text-align:center;margin:0 .3em 0 1em;color:#111}
.trouble{border-left:.4rem solid var(--incomplete);padding-left:.6rem;overflow-wrap:anywhere}
#told{min-height:9rem;margin-top:1rem;white-space:pre-wrap;overflow-wrap:anywhere}
"""
SCRIPT: Final = """
"use strict";
const data = JSON.parse(document.getElementById("data").textContent), told = document.getElementById("told");
const map = document.getElementById("map"), cells = [...map.querySelectorAll("td[class]")];
const counted = (names, counts) => names.map((name, n) => counts[n] + " " + name).join(", ");
let shown = null;
function show(td) {
  const row = td.parentNode.rowIndex - 1, cell = data.cells[row][td.cellIndex - 1];
  shown = td;
  told.textContent = [data.topics[row] + "   " + data.spans[td.cellIndex - 1] + "   " + td.className,
    "windows: " + counted(data.states, cell.windows), counted(data.sums, cell.sums),
    ...cell.reasons.flatMap(([at, n]) => ["", at + "   " + data.reasons[n], "  \\u2192 " + data.remedies[data.kinds[n]]]),
    ...cell.more ? ["", "and " + cell.more + " more: headrace audit"] : []].join("\\n");
}
for (const td of cells) td.tabIndex = td === cells[0] ? 0 : -1;
for (const kind of ["focusin", "mouseover", "click"]) map.addEventListener(kind, event => {
  const td = event.target.closest("td[class]");
  if (td) kind === "click" ? td.focus() : show(td);
});
map.addEventListener("keydown", event => {
  const td = event.target.closest("td");
  const step = {ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0]}[event.key];
  if (!td || !step) return;
  event.preventDefault();
  let row = td.parentNode, index = td.cellIndex, next;
  do {
    row = step[0] > 0 ? row.nextElementSibling : step[0] < 0 ? row.previousElementSibling : row;
    index += step[1];
    next = row && row.cells[index];
  } while (next && next.tagName === "TD" && !next.className);
  if (!next || next.tagName !== "TD") return;
  td.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
});
if (data.again) setInterval(() => shown || location.reload(), 1000 * data.again);
"""


def page(found: GateVerdict | None, *, trouble: str | None = None, again_s: int | None = None) -> str:
    """The whole page.

    Args:
        found: none: nothing has been judged yet.
        trouble: why there is nothing newer, in a sentence.
        again_s: after so many seconds it loads itself again, unless somebody looks at a cell.
    """
    drawn = heat_map(found) if found else HeatMap((), 0, 1, 0, ())
    shown = range(min(len(drawn.topics), _TOPICS))
    told = _Told()
    data = {
        "topics": drawn.topics[:_TOPICS],
        "spans": [span(at, at + drawn.span_ms) for at in _starts(drawn)],
        "states": list(EXIT_STATUS),
        "sums": SUMMED,
        "cells": [{n: told.cell(cell) for n, cell in drawn.rows[row].items()} for row in shown],
        "reasons": [reason[:_LETTERS] for reason in told.reasons],
        "kinds": [reason.kind for reason in told.reasons],
        "remedies": REMEDIES,
        "again": again_s,
    }
    policy = f"default-src 'none'; style-src '{_hash(STYLE)}'; script-src '{_hash(SCRIPT)}'"
    state = found.state if found else "nothing judged yet"
    rows = "\n".join(_row(drawn.topics[row], drawn.rows[row], drawn.spans) for row in shown)
    trouble = "" if trouble is None else f'<p class="trouble">Nothing newer: {html.escape(trouble[: 10 * _LETTERS])}</p>\n'
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width"><title>headrace audit: {state}</title><style>{STYLE}</style></head>
<body><h1>Audit: {state}</h1>
{trouble}<p>{_summary(found, drawn)}</p>
<div id="map"><table><thead><tr><th>topic</th>{_heads(drawn)}</tr></thead><tbody>
{rows}
</tbody></table></div>
<div id="told" role="status" aria-live="polite">Point at a cell, or go to one with Tab and the arrow keys.</div>
<script type="application/json" id="data">{_json(data)}</script><script>{SCRIPT}</script></body></html>
"""


def _summary(found: GateVerdict | None, drawn: HeatMap) -> str:
    """As of when, how many topics there are of each state, and the key of the colours."""
    if found is None:
        return "It is empty until the tables have been read."
    states = Counter(topic.state for topic in found.topics)
    counts = ", ".join(f"{states[state]:,} {state}" for state in EXIT_STATUS)
    more = f"; only the worst {_TOPICS:,} are shown" if len(found.topics) > _TOPICS else ""
    key = "".join(f'<span class="key {state}">{mark}&nbsp;</span>{state}' for state, mark in MARKS.items())
    return f"As of {when(found.judged_ms)}, times in UTC. Topics: {counts}{more}. Each cell is {drawn.each}.{key}"


def _starts(drawn: HeatMap) -> Sequence[int]:
    return range(drawn.start_ms, drawn.start_ms + drawn.spans * drawn.span_ms, drawn.span_ms)


def _heads(drawn: HeatMap) -> str:
    """A date above the first span of each day, and the hours between where they are few."""
    ticks = {0: "", **drawn.ticks(_HEADS)}
    widths = (following - n for n, following in pairwise([*ticks, drawn.spans]))
    return "".join(
        f'<th colspan="{width}" title="{when(drawn.start_ms + n * drawn.span_ms)}">{label}</th>'
        for (n, label), width in zip(ticks.items(), widths, strict=True)
        if width
    )


def _row(topic: str, cells: dict[int, Cell], spans: int) -> str:
    name = html.escape(topic)
    drawn = (f'<td class="{cells[n].state}">{MARKS[cells[n].state]}</td>' if n in cells else "<td></td>" for n in range(spans))
    return f'<tr><th scope="row" title="{name}">{name}</th>{"".join(drawn)}</tr>'


class _Told:
    """What the cells tell, with each reason once for all of them."""

    def __init__(self) -> None:
        self.reasons: dict[Reason, int] = {}
        """In the order of their numbers."""

    def cell(self, cell: Cell) -> dict[str, Any]:
        """Numbers of windows by state, sums, and when each reason began."""
        reasons = cell.reasons()
        numbered = [
            (when(start_ms)[:16], self.reasons.setdefault(reason, len(self.reasons)))
            for start_ms, reason in reasons[:_REASONS_OF_CELL]
            if reason in self.reasons or len(self.reasons) < _REASONS
        ]
        return {
            "windows": [cell.counts[state] for state in EXIT_STATUS],
            "sums": [cell.sums[name] for name in SUMMED],
            "reasons": numbered,
            "more": len(reasons) - len(numbered),
        }


def _json(data: dict[str, Any]) -> str:
    """As it may stand in a `script` element."""
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")


def _hash(text: str) -> str:
    """What a content security policy calls this text."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"

"""A bar chart as SVG, in the colours of docs/pipeline.svg."""

from collections.abc import Mapping
from xml.sax.saxutils import escape

_BAR, _GAP, _LEFT, _WIDTH = 26, 12, 210, 480


def bars(title: str, values: Mapping[str, float]) -> str:
    """One bar a value, ours (its name begins with `headrace`) in the colour of its own."""
    height = 60 + len(values) * (_BAR + _GAP)
    longest = max(values.values())
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDTH + 90} {height}" '
        'font-family="Helvetica, Arial, sans-serif" font-size="14">',
        f'  <rect width="{_LEFT + _WIDTH + 90}" height="{height}" fill="#ffffff"/>',
        f'  <text x="20" y="30" font-weight="bold" fill="#1c2b36">{escape(title)}</text>',
    ]
    for index, (name, value) in enumerate(values.items()):
        top = 48 + index * (_BAR + _GAP)
        fill = "#33516b" if name.startswith("headrace") else "#b9c8d4"
        lines += [
            f'  <text x="{_LEFT - 10}" y="{top + 18}" text-anchor="end" fill="#1c2b36">{escape(name)}</text>',
            f'  <rect x="{_LEFT}" y="{top}" width="{value / longest * _WIDTH:.1f}" height="{_BAR}" fill="{fill}"/>',
            f'  <text x="{_LEFT + value / longest * _WIDTH + 8:.1f}" y="{top + 18}" fill="#1c2b36">{value:,.2f}</text>',
        ]
    return "\n".join([*lines, "</svg>"]) + "\n"

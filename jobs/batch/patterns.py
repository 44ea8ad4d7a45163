"""Messages as patterns: what differs from one event to the next is masked, so that the same words are the same pattern. Pure.

Fixed masks, in this order, each on what the ones before have left; `<n>` is any number, decimal or hexadecimal, so that a value
of which all digits happen to be decimal gives no pattern of its own.
"""

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

MOST_READ: Final = 2_000
"""Characters of a message that are looked at."""
MOST_KEPT: Final = 300
"""Characters of a pattern."""
_MONTHS: Final = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_DAYS: Final = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_HEX: Final = "[0-9a-fA-F]"
MASKS: Final = (
    (rf"\b{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}}\b", "<uuid>"),
    (r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?", "<time>"),
    (rf"(?:\b{_DAYS},? +)?\b{_MONTHS} +\d{{1,2}}(?: \d\d:\d\d:\d\d(?: \d{{4}})?)?\b", "<time>"),
    (rf"\b\d{{1,2}}/{_MONTHS}/\d{{4}}(?::\d\d:\d\d:\d\d)?(?: [+-]\d{{4}})?\b", "<time>"),
    (r"\"[^\"]*\"", "<text>"),
    (r"(^|\W)'[^']*'", r"\1<text>"),
    (r"\b[A-Za-z][A-Za-z0-9+.-]*://\S+", "<url>"),
    (r"\b\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}(?::\d+)?\b", "<ip>"),
    (rf"(?:{_HEX}{{0,4}}:){{4,7}}{_HEX}{{1,4}}\b", "<ip>"),
    (r"(^|[\s=(,:\[])(?:[A-Za-z]:)?[/\\][^\s\"',;)\]]+", r"\1<path>"),
    (rf"[+-]?\b(?:0[xX]{_HEX}+|{_HEX}{{8,}})\b", "<n>"),
    (r"(?:[+-]?\d+(?:[.,:]\d+)*)+", "<n>"),
    (r"\s+", " "),
)
"""RE2 expressions, and what stands for what they match."""


def patterns_of(messages: pa.Array) -> pa.Array:
    """The pattern of each message; null where that is."""
    masked = pc.utf8_slice_codeunits(messages, 0, MOST_READ)
    for expression, mask in MASKS:
        masked = pc.replace_substring_regex(masked, expression, mask)
    return pc.utf8_slice_codeunits(pc.utf8_trim_whitespace(masked), 0, MOST_KEPT)

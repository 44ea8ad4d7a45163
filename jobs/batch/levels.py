"""How bad an event is: one of five words, from what its fields or its message say. Pure.

A field `level`, `severity` or `severity_text` counts first, then an HTTP status, then the first word in the message's head that
is a level in capitals, or stands in brackets as `[error]` and `[core:error]`.
"""

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

LEVELS: Final = ("fatal", "error", "warning", "info", "debug")
"""The worst first."""
FIELDS: Final = ("level", "severity", "severity_text")
STATUS: Final = "status"
_WORDS: Final = {
    "fatal": ("fatal", "emerg", "emergency", "panic", "alert", "crit", "critical", "60"),
    "error": ("error", "err", "severe", "50"),
    "warning": ("warning", "warn", "40"),
    "info": ("info", "information", "notice", "30"),
    "debug": ("debug", "trace", "verbose", "fine", "finer", "finest", "20", "10"),
}
"""What is written for each; the numbers are those of pino and Bunyan."""
_HEAD: Final = 200
"""Characters of a message in which a level may stand."""
_SPOKEN: Final = "FATAL|EMERG|PANIC|ALERT|CRIT|CRITICAL|ERROR|ERR|SEVERE|WARN|WARNING|INFO|NOTICE|DEBUG|TRACE"
IN_MESSAGE: Final = rf"(?:^|[^A-Za-z0-9_])(?P<capital>{_SPOKEN})(?:$|[^A-Za-z0-9_])|\[(?:\w+:)?(?P<bracket>(?i:{_SPOKEN}))\]"
_TEXTS: Final = pa.array([word for words in _WORDS.values() for word in words])
_MEANT: Final = pa.array([level for level, words in _WORDS.items() for _ in words])


def statuses(texts: pa.Array) -> pa.Array:
    """HTTP statuses (int32) of texts; null for what is none."""
    is_one = pc.match_substring_regex(texts, r"\A[1-5]\d\d\z")
    return pc.if_else(is_one, texts, pa.scalar(None, pa.string())).cast(pa.int32())


def levels_of(fields: list[pa.Array], status: pa.Array, messages: pa.Array) -> pa.Array:
    """The level of each event, one of LEVELS; null where nothing says."""
    told = pc.coalesce(*(_meant(texts) for texts in fields), _of_status(status))
    unknown = told.is_null()
    if not unknown.true_count:
        return told
    spoken = pc.extract_regex(pc.utf8_slice_codeunits(messages.filter(unknown), 0, _HEAD), IN_MESSAGE)
    words = [pc.struct_field(spoken, name) for name in ("capital", "bracket")]
    found = _meant(pc.if_else(pc.equal(words[0], ""), words[1], words[0]))
    return pc.replace_with_mask(told, unknown, found)


def _meant(texts: pa.Array) -> pa.Array:
    coded = texts.dictionary_encode()
    words = pc.utf8_lower(pc.utf8_trim_whitespace(coded.dictionary))
    return pc.take(pc.take(_MEANT, pc.index_in(words, _TEXTS)), coded.indices)


def _of_status(status: pa.Array) -> pa.Array:
    numbers = pc.fill_null(status, 0).to_numpy(zero_copy_only=False)
    level = np.select([numbers >= 500, numbers >= 400, numbers > 0], [1, 2, 3], -1)
    return pc.take(pa.array(LEVELS), pa.array(level, pa.int64(), mask=level < 0))

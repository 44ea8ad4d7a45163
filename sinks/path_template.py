"""Templates of the directories of a table, and what may stand in them. Pure.

Two partitions never share a directory: the template must tell periods apart, a column stands alone at the end of a path's
segment, and what its value becomes can be undone (but for values of over 200 bytes, which are cut and end in their hash). No
segment begins with `_` or `.`, which hide a directory from readers, and none is empty or climbs, so that rows stay in their
table.

Values are escaped as Hive does, with `%` and two digits; a missing one is `__HIVE_DEFAULT_PARTITION__`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

import xxhash

DEFAULT_PATH: Final = "dt={date}/hour={hour}"
MISSING: Final = "__HIVE_DEFAULT_PARTITION__"
TIMES: Final = ("date", "year", "month", "day", "hour")
_TIME_PATTERNS: Final = {"date": r"\d{4}-\d\d-\d\d", "year": r"\d{4}", "month": r"\d\d", "day": r"\d\d", "hour": r"\d\d"}
_LITERAL: Final = re.compile(r"[A-Za-z0-9=_.,+@-]*")
_PIECES: Final = re.compile(r"\{([^{}]*)\}")
_MOST_SEGMENTS: Final = 8
_ESCAPED: Final = re.compile(r'[\x00-\x1f\x7f"#%\'*/:=?\\{}\[\]^~]')
_LONGEST_VALUE: Final = 200
_KEPT_OF_LONG: Final = 150


@dataclass(frozen=True, slots=True)
class Segment:
    """One directory of a template: literals and placeholders by turns, a literal first."""

    literals: tuple[str, ...]
    names: tuple[str, ...]

    def filled(self, values: Mapping[str, str]) -> str:
        return self.literals[0] + "".join(
            values[name] + literal for name, literal in zip(self.names, self.literals[1:], strict=True)
        )


def times_in(segments: tuple[Segment, ...], directory: str) -> dict[str, int] | None:
    """Year, month, day and, where the template has it, hour that a directory is for; None if it is none of the template's."""
    pattern = "/".join(
        "".join(
            re.escape(literal) + (f"(?P<{name}>{_TIME_PATTERNS[name]})" if name in TIMES else "[^/]*" if name else "")
            for literal, name in zip(segment.literals, (*segment.names, ""), strict=True)
        )
        for segment in segments
    )
    if (found := re.fullmatch(pattern, directory)) is None:
        return None
    told = found.groupdict()
    if date := told.pop("date", None):
        told = {**told, **dict(zip(("year", "month", "day"), date.split("-"), strict=True))}
    return {name: int(value) for name, value in told.items()}


def zone(name: str) -> ZoneInfo:
    """A time zone by its name; ValueError where there is none."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"no time zone {name!r} on this machine; write it like Europe/Zurich") from None


def parse_path(path: str) -> tuple[Segment, ...]:
    """A template's segments; ValueError where two partitions could share a directory or rows leave their table."""
    segments = tuple(_segment(text) for text in path.split("/"))
    if len(segments) > _MOST_SEGMENTS:
        raise ValueError(f"{path!r} is deeper than {_MOST_SEGMENTS} directories")
    names = [name for segment in segments for name in segment.names]
    keys = [segment.literals[0].partition("=")[0] for segment in segments if "=" in segment.literals[0]]
    if twice := {key for key in keys if keys.count(key) > 1}:
        raise ValueError(f"{path!r} has {twice.pop()}= twice")
    if "date" not in names and not {"year", "month", "day"} <= set(names):
        raise ValueError(f"{path!r} does not tell days apart: it needs {{date}}, or {{year}}, {{month}} and {{day}}")
    return segments


def path_keys(path: str) -> frozenset[str]:
    """What a template's directories say, as `dt` of dt={date}, but for a column's value under its own name."""
    pairs = ((segment.literals[0].partition("="), segment.names) for segment in parse_path(path))
    return frozenset(key for (key, equals, _), names in pairs if equals and (names != (key,) or key in TIMES))


def _segment(text: str) -> Segment:
    pieces = _PIECES.split(text)
    literals, names = tuple(pieces[::2]), tuple(pieces[1::2])
    for literal in literals:
        if not _LITERAL.fullmatch(literal):
            raise ValueError(f"{text!r}: only letters, digits and = _ . , + @ - stand in a directory's name beside {{…}}")
    if not text or text[0] in "_.":
        raise ValueError(f"{text!r}: a directory's name is not empty, and begins with neither _ nor .")
    columns = [name for name in names if name not in TIMES]
    for name in columns:
        if not all(name.split(".")):
            raise ValueError(f"{text!r}: {{{name}}} is no column")
    if columns and (len(names) > 1 or not literals[0] or literals[-1]):
        raise ValueError(
            f"{text!r}: a column stands at the end of a directory's name and alone, as {columns[0]}={{{columns[0]}}}"
        )
    return Segment(literals, names)


def escape(value: str) -> str:
    """A value as the end of a directory's name; different values stay different."""
    if value.startswith("__HIVE"):
        return "%5F" + escape(value[1:])
    escaped = _ESCAPED.sub(lambda found: f"%{ord(found.group()):02X}", value)
    if len(escaped.encode()) <= _LONGEST_VALUE:
        return escaped
    kept = escaped.encode()[:_KEPT_OF_LONG].decode(errors="ignore")
    return f"{kept}~{xxhash.xxh64_hexdigest(value.encode())}"  # no escaped value has a ~

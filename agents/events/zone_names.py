"""Zones by the names that logs write behind a time: PostgreSQL's `CET`, PHP's `Europe/Zurich`, `date`'s `PDT`.

Abbreviations that mean one offset in the tz database of today (2025b), and PST, America's in RFC 2822 and PostgreSQL too. `CST`
(America, China) and `IST` (India, Israel, Ireland) mean several: they are not believed, and the zone is the pipeline's.
"""

from functools import lru_cache
from typing import Final

from headrace.agents.events.zones import Local, local_time

OFFSETS: Final = {
    "UTC": "Z", "GMT": "Z", "WET": "Z", "WEST": "+01:00", "BST": "+01:00", "CET": "+01:00", "CEST": "+02:00", "EET": "+02:00",
    "EEST": "+03:00", "MSK": "+03:00", "SAST": "+02:00", "CAT": "+02:00", "EAT": "+03:00", "WAT": "+01:00", "PKT": "+05:00",
    "WIB": "+07:00", "WITA": "+08:00", "WIT": "+09:00", "HKT": "+08:00", "JST": "+09:00", "KST": "+09:00", "AWST": "+08:00",
    "ACST": "+09:30", "ACDT": "+10:30", "AEST": "+10:00", "AEDT": "+11:00", "NZST": "+12:00", "NZDT": "+13:00", "HST": "-10:00",
    "AKST": "-09:00", "AKDT": "-08:00", "PST": "-08:00", "PDT": "-07:00", "MST": "-07:00", "MDT": "-06:00", "CDT": "-05:00",
    "EST": "-05:00", "EDT": "-04:00", "AST": "-04:00", "ADT": "-03:00", "NST": "-03:30", "NDT": "-02:30",
}  # fmt: skip
INITIALS: Final = frozenset(name[0] for name in OFFSETS)


@lru_cache(maxsize=64)
def zone_of(name: str, local: Local) -> Local:
    """The zone of a name; `local` where it is none, or means several."""
    try:
        return local_time(OFFSETS.get(name, name) if name in OFFSETS or "/" in name else "")
    except ValueError:
        return local

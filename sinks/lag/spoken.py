"""Durations and sizes as people say them."""

from typing import Final

_UNITS: Final = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def duration(seconds: float) -> str:
    """The two greatest units of it: `2d 4h`, `3m 12s`, `7s`, `0.4s`."""
    if 0 < seconds < 10:
        return f"{seconds:.1f}s"
    left = int(seconds)
    said: list[str] = []
    for unit, length in _UNITS:
        if left >= length or (unit == "s" and not said):
            said.append(f"{left // length}{unit}")
            left %= length
        elif said:
            break
    return " ".join(said[:2])


def megabytes(size_bytes: int) -> str:
    """In 10⁶ bytes, with one digit after the point."""
    return f"{size_bytes / 1e6:,.1f}"

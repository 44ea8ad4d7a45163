"""xxh64 of rows of cells, of all rows at once: a hash a row in Python would cost more than to write the row.

A cell is nine bytes, one and then eight (content_hash.py). Words of eight bytes are put together from the columns, and the
steps of the hash done for whole columns. Numbers wrap at 64 bits, as they must. Source: xxHash's specification, XXH64.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

CELL_BYTES: Final = 9
PRESENT: Final = np.uint64(1)
Words = np.ndarray | np.uint64
_P1: Final = np.uint64(0x9E3779B185EBCA87)
_P2: Final = np.uint64(0xC2B2AE3D27D4EB4F)
_P3: Final = np.uint64(0x165667B19E3779F9)
_P4: Final = np.uint64(0x85EBCA77C2B2AE63)
_P5: Final = np.uint64(0x27D4EB2F165667C5)
_LANES: Final = (0x60EA27EEADC0B5D6, 0xC2B2AE3D27D4EB4F, 0, 0x61C8864E7A143579)
_LANE_ROTATIONS: Final = (1, 7, 12, 18)
_STRIPE_WORDS: Final = 4


@dataclass(frozen=True, slots=True)
class Cells:
    """A column: `present` is 1 or 0 of each row, or PRESENT for all; `values` (uint64) are 0 where it is 0."""

    present: Words
    values: np.ndarray

    def taken(self, rows: np.ndarray) -> "Cells":
        return Cells(self.present[rows] if isinstance(self.present, np.ndarray) else self.present, self.values[rows])

    def between(self, start: int, end: int) -> "Cells":
        present = self.present[start:end] if isinstance(self.present, np.ndarray) else self.present
        return Cells(present, self.values[start:end])

    def as_bytes(self) -> np.ndarray:
        """A matrix of a row for each cell."""
        cells = np.empty((len(self.values), CELL_BYTES), np.uint8)
        cells[:, 0] = self.present
        cells[:, 1:] = self.values.astype("<u8", copy=False).view(np.uint8).reshape(-1, 8)
        return cells


def hash_rows(columns: Sequence[Cells], rows: int) -> np.ndarray:
    """The hash (uint64) of each row's cells, one after another; of equally long columns, or of none."""
    words, tail = _words(columns, rows)
    whole = len(words) - len(words) % _STRIPE_WORDS
    digest = _stripes(words[:whole]) if whole else np.full(rows, _P5)
    digest = digest + np.uint64(CELL_BYTES * len(columns))
    for word in words[whole:]:
        digest = _rotated(digest ^ _round(word), 27) * _P1 + _P4
    return _avalanche(_tail(digest, tail, len(columns) % 8))


def _words(columns: Sequence[Cells], rows: int) -> tuple[list[np.ndarray], Words]:
    """The rows' bytes as little-endian words, and what is left after them: number of columns mod 8 bytes."""
    words: list[np.ndarray] = []
    pending: Words = np.uint64(0)
    for index, cells in enumerate(columns):
        filled = np.uint64(index % 8 * 8)
        pending = cells.present << filled if not filled else pending | (cells.present << filled)
        if filled == 56:
            words += [np.broadcast_to(pending, rows), cells.values]
            pending = np.uint64(0)
        else:
            words.append(pending | (cells.values << (filled + np.uint64(8))))
            pending = cells.values >> (np.uint64(56) - filled)
    return words, pending


def _stripes(words: Sequence[np.ndarray]) -> np.ndarray:
    lanes = [_accumulated(np.uint64(start), words[lane::_STRIPE_WORDS]) for lane, start in enumerate(_LANES)]
    digest = np.zeros_like(lanes[0])
    for lane, rotation in zip(lanes, _LANE_ROTATIONS, strict=True):
        digest = digest + _rotated(lane, rotation)
    for lane in lanes:
        digest = (digest ^ _round(lane)) * _P1 + _P4
    return digest


def _accumulated(start: np.uint64, words: Sequence[np.ndarray]) -> np.ndarray:
    lane = np.full(len(words[0]), start)
    for word in words:
        lane = _rotated(lane + word * _P2, 31) * _P1
    return lane


def _round(word: np.ndarray) -> np.ndarray:
    return _rotated(word * _P2, 31) * _P1


def _rotated(words: np.ndarray, bits: int) -> np.ndarray:
    return (words << np.uint64(bits)) | (words >> np.uint64(64 - bits))


def _tail(digest: np.ndarray, tail: Words, size_bytes: int) -> np.ndarray:
    """Take in the last bytes, fewer than eight: four together, then one by one."""
    at = 0
    if size_bytes >= 4:
        digest = _rotated(digest ^ ((tail & np.uint64(0xFFFFFFFF)) * _P1), 23) * _P2 + _P3
        at = 4
    for byte in range(at, size_bytes):
        digest = _rotated(digest ^ (((tail >> np.uint64(8 * byte)) & np.uint64(0xFF)) * _P5), 11) * _P1
    return digest


def _avalanche(digest: np.ndarray) -> np.ndarray:
    digest = (digest ^ (digest >> np.uint64(33))) * _P2
    digest = (digest ^ (digest >> np.uint64(29))) * _P3
    return np.asarray(digest ^ (digest >> np.uint64(32)))

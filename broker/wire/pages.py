"""Memory for large frames: pages that the kernel gives as they are written.

Unmapping them takes 35 µs a megabyte, 3 ms for 90 MB in one call. So those of a large frame are not unmapped when nobody looks
at them any more, but handed over to who gives them back in pieces.
"""

import mmap
from collections.abc import Callable

PIECE_BYTES = 4 << 20  # given back in about 0.15 ms


class Pages(mmap.mmap):
    """Private, or the kernel would take it for shared memory; no huge pages, of which a single byte would cost 2 MB."""

    _let_go: "Callable[[Pages], None] | None"

    def __new__(cls, size_bytes: int, let_go: "Callable[[Pages], None] | None" = None) -> "Pages":
        """`let_go` is handed the pages of more than one piece, once, from any thread, when nothing refers to them any more."""
        pages = super().__new__(cls, -1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        pages.madvise(mmap.MADV_NOHUGEPAGE)
        pages._let_go = let_go if size_bytes > PIECE_BYTES else None
        return pages

    def __del__(self) -> None:
        let_go, self._let_go = self._let_go, None
        if let_go is not None:
            let_go(self)

    def give_back(self, position: int) -> int:
        """Give one piece back to the system, from `position` on, and say where the next begins; its bytes are gone."""
        end = min(position + PIECE_BYTES, len(self))
        self.madvise(mmap.MADV_DONTNEED, position, end - position)
        return end

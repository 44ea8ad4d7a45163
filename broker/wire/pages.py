"""Memory for frames: the buffer that all connections share, and room for those that come in parts.

Pages are given by the kernel as they are written, and cost more than what is written into them: 0.4 ms a megabyte, of 0.55 that
receiving one takes. So some of each size are used again. Unmapping them takes 35 µs a megabyte, 3 ms for 90 MB in one call. So
those of a large frame are not unmapped when nobody looks at them any more, but handed over to who gives them back in pieces.
"""

import mmap
from collections.abc import Callable

SHARED_BYTES = 32 * 1024  # received of one connection before others have a turn, but for the rest of a large frame
PIECE_BYTES = 4 << 20  # given back in about 0.15 ms
_MAPPED_BYTES = 16 * 1024  # from this size on, pages: a `bytearray` writes zeros at once
_USED_AGAIN_BYTES = 2 << 20  # up to this size
_KEPT = 8  # of each power of two: 32 MiB, if all of them were ever in use at once


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

    @property
    def is_free(self) -> bool:
        """Whether nobody looks at them: no memory may be resized that somebody has a view of."""
        try:
            self.resize(len(self))
        except BufferError:
            return False
        return True

    def give_back(self, position: int) -> int:
        """Give one piece back to the system, from `position` on, and say where the next begins; its bytes are gone."""
        end = min(position + PIECE_BYTES, len(self))
        self.madvise(mmap.MADV_DONTNEED, position, end - position)
        return end


class ReceiveMemory:
    """Where the connections of one server receive. Owned by the event loop; views of it may be dropped on any thread."""

    def __init__(self, let_go: Callable[[Pages], None] | None = None) -> None:
        """`let_go` is handed the memory of a large frame when nothing refers to it any more (else it goes back in one call)."""
        self.shared = memoryview(bytearray(SHARED_BYTES))
        self._let_go = let_go
        self._kept: dict[int, list[Pages]] = {}

    def room(self, size_bytes: int) -> memoryview:
        """So many bytes, which cost nothing before they come; what is in them is not said."""
        if size_bytes < _MAPPED_BYTES:
            return memoryview(bytearray(size_bytes))
        if size_bytes > _USED_AGAIN_BYTES:
            return memoryview(Pages(size_bytes, self._let_go))
        capacity = 1 << (size_bytes - 1).bit_length()
        kept = self._kept.setdefault(capacity, [])
        pages = next((each for each in kept if each.is_free), None)
        if pages is None:
            pages = Pages(capacity)
            if len(kept) < _KEPT:
                kept.append(pages)
        return memoryview(pages)[:size_bytes]

"""How often lines of one kind are written to a log: a flood of bad clients must not fill a disk. Pure; times in seconds."""

LINES = 20  # of one kind
WINDOW_S = 10.0
MAX_KINDS = 1000


class Flood:
    """Counts lines by kind, in windows."""

    def __init__(self) -> None:
        self._kinds: dict[str, tuple[float, int]] = {}  # when its window began, how many came

    def admits(self, kind: str, now_s: float) -> bool:
        """Whether one more line of that kind is written; ask for `left_out` before."""
        began_s, count = self._kinds.get(kind, (now_s, 0))
        if not began_s <= now_s < began_s + WINDOW_S:
            began_s, count = now_s, 0
        if kind in self._kinds or len(self._kinds) < MAX_KINDS:
            self._kinds[kind] = began_s, count + 1
        return count < LINES

    def left_out(self, now_s: float) -> list[tuple[str, int]]:
        """The kinds whose window is over and of which lines were left out, and how many; told once."""
        over = [kind for kind, (began_s, _) in self._kinds.items() if not began_s <= now_s < began_s + WINDOW_S]
        counts = [(kind, self._kinds.pop(kind)[1] - LINES) for kind in over]
        return [(kind, count) for kind, count in counts if count > 0]

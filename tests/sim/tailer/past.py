"""What there is before an input begins, and what of it is to be shipped: an oracle that reads whole files, line by line."""

from datetime import UTC, datetime
from typing import Any

from headrace.agents.start import Start
from tests.sim.tailer.world import BASE_MS, Inode, Line


class Past:
    """The files of a simulation before its first agent starts, with lines in the order of their times.

    `passed` are the lines that are not to be shipped, `begins` says where shipping begins in a file (by id), once that
    is decided.
    """

    def __init__(self, simulation: Any) -> None:
        self._simulation, self._files, self._rng = simulation, simulation.files, simulation.rng
        self._time_of: dict[bytes, int] = {}
        self.passed: set[bytes] = set()
        self.begins: dict[int, int] = {}
        self._kept: set[bytes] = set()
        self.may_copy = self._rng.random() < 0.4
        self.copied = False
        for name in ("a.log", "b.log", "a.log.1", "a.log.2"):
            if name not in self._files.names:
                self._files.create(name, reuse=False)
        packed = None if simulation.reload_rate else self._files.begin_packing("a.log.2", reuse=False)
        for _ in range(self._rng.choice((0, 4, 30))):
            name = self._rng.choice(("a.log", "a.log", "b.log", "a.log.1", "a.log.2"))
            self._files.append(self._files.names[name], self._line())
            self._files.now_ms += self._rng.choice((1, 1000, 40_000))
        if self._rng.random() < 0.5:
            self._files.append(self._files.names["a.log"], b"a line that has only begun")
        if packed is not None:
            self._files.end_packing("a.log.2", packed)
        self._files.now_ms += self._rng.choice((10, 90_000))

    def _line(self) -> bytes:
        simulation = self._simulation
        simulation.count += 1
        text = b"past %d %s" % (simulation.count, b"x" * self._rng.choice((0, 20, 90)))
        if self._rng.random() < 0.8:
            wall_ms = BASE_MS + self._files.now_ms
            text = datetime.fromtimestamp(wall_ms / 1000, UTC).isoformat(timespec="milliseconds").encode() + b" " + text
            self._time_of[text] = wall_ms
        return text + b"\n"

    def start_of(self, kind: str) -> Start:
        """The input's `start`: a time is one of those that are in the lines, or near."""
        if kind != "time":
            return Start(end=kind == "end")
        times = [*self._time_of.values(), BASE_MS + self._files.now_ms]
        return Start(time_ms=self._rng.choice(times) + self._rng.choice((0, 1)))

    def decided(self) -> None:
        """The agent has decided, now."""
        start = self._simulation.begin_at
        if start.from_beginning:
            return
        for name, inode in self._files.names.items():
            if name[:5] not in self._files.names and not self._simulation.all_names:
                continue  # rotated away, and whose it is does not show
            begin = self._begin_of(inode, start)
            if not self._simulation.all_names and name not in self._simulation.names:
                begin = len(inode.data)
            elif not inode.packed:
                self.begins[id(inode)] = begin
            at = 0
            for line in self._there(inode):
                at += len(line.text) + 1
                (self.passed if at <= begin else self._kept).add(line.text)

    def _there(self, inode: Inode) -> list[Line]:
        return [line for line in self._files.lines[id(inode)] if line.destroyed_ms is None]

    def _begin_of(self, inode: Inode, start: Start) -> int:
        lines = bytes(inode.data).split(b"\n")[:-1]
        end = sum(map(len, lines)) + len(lines)
        if start.time_ms is None or BASE_MS + inode.mtime_ms < start.time_ms:
            return end
        times = [self._time_of.get(line) for line in lines]
        if inode.packed or not any(times):
            return 0
        new = [index for index, time in enumerate(times) if time is not None and time >= start.time_ms]
        return sum(len(line) + 1 for line in lines[: new[0]]) if new else end

    def check(self, delivered: set[bytes]) -> None:
        """What was passed over was not shipped, wherever it was moved or packed.

        A copy that is met before it is known that its log was truncated is a log of its own, and so is an archive that is not
        finished for a minute: in doubt, a repeat.
        """
        ours = {line for line in self.passed - self._kept if b"past " in line or line == b"never asked for"}
        assert self.copied or not ours & delivered, f"passed over, and shipped: {ours & delivered}"

"""The core of dropped files among programs that drop well and badly, and crashes and power cuts between any two effects.

Held under every seed: each file that was dropped and left alone is shipped once, whole, and put away; nothing is put away
before all of it is acknowledged and durable; an identity never has two contents; positions advance over delivered chunks only,
and each chunk is counted once; in a partition no file is begun within another; what is lost is said; a claim is true.
"""

import random
from collections import Counter
from dataclasses import dataclass
from typing import Any

from headrace.agents.directory.arrivals import Arrival
from headrace.agents.directory.drops import Drops
from headrace.agents.directory.folder import DELETE, KEEP, RENAME, Ending, Folder, Found, Look
from headrace.agents.directory.hands import is_same
from headrace.agents.directory.resting import Resting
from headrace.agents.effects import Close, Input, Lost, Measure, NotOpened, Now, Open, PutAway, Read, Shipped, Stat, SyncFolder
from headrace.agents.events.pipeline import definition
from headrace.agents.rows import DONE, Dropped
from headrace.agents.tail.reading import Limits
from tests.sim.agent_life import CrashedError, Life
from tests.sim.harness import Guard, each_guard, run_seeds
from tests.sim.tailer.world import BASE_MS, Files, Inode

PLACE = "/in"
PLAIN = definition(parse={"type": "plain"})


@dataclass(slots=True)
class Drop:
    """A file that some program made. `bad`: somebody changed, replaced or removed it before all of it was delivered."""

    inode: Inode
    name: str
    left: list[bytes]
    visible_ms: int | None = None
    bad: bool = False
    last_ms: int = 0


class Simulation(Life):
    """One agent's life, several times, on one directory."""

    core: Drops

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.files = Files(births=rng.random() < 0.7)
        self.settle_ms = rng.choice((0, 300, 2000))
        self.when_done = rng.choice((KEEP, RENAME, DELETE))
        self.partitions = rng.choice((1, 3))
        self.crash_rate = rng.choice((0.0, 0.005, 0.03))
        self.bad_rate = rng.choice((0.0, 0.0, 0.1))
        self.limits = Limits(chunk_bytes=rng.choice((24, 64, 512)), chunk_lines=rng.choice((1, 3, 50)))
        self.drops: list[Drop] = []
        self.writing: list[Drop] = []
        self.undone: list[tuple[str, str | None, Inode]] = []  # renames and deletions that a power cut may take back
        self.away = False
        self.away_ms: list[tuple[int, int]] = []
        self.lost: list[Lost] = []
        self.spoilt: set[bytes] = set()  # lines that were in files which somebody changed
        self.count = 0
        self.core = self.start()

    # ---- programs

    def tick(self, most_ms: int = 50) -> None:
        self.files.now_ms += self.rng.randint(1, most_ms)

    def now(self) -> Now:
        return Now(self.files.now_ms, BASE_MS + self.files.now_ms)

    def act(self) -> None:
        """One thing that some program does."""
        self.tick()
        if self.healing:
            return
        what = self.rng.random()
        if self.away:
            if what < 0.3:
                self.away = self.looked = False
                self.sent_of.clear()  # what could not be opened stood back
                self.away_ms[-1] = (self.away_ms[-1][0], self.files.now_ms)
        elif what < self.bad_rate:
            self.misbehave()
        elif what < 0.5 and self.writing:
            self.go_on(self.rng.choice(self.writing))
        elif what < 0.85:
            self.begin()
        elif what < 0.9:
            self.away = True
            self.away_ms.append((self.files.now_ms, 1 << 60))
        else:
            self.tick(3000)

    def text(self) -> list[bytes]:
        """What a file is to hold, in pieces; now and then the very same as another."""
        if self.drops and self.rng.random() < 0.1:
            return [bytes(self.rng.choice(self.drops).inode.data) or b"same\n"]
        self.count += 1
        lines = [b"%d.%d:%s\n" % (self.count, n, b"x" * self.rng.choice((0, 5, 60))) for n in range(self.rng.choice((1, 2, 9)))]
        data = b"".join(lines) if self.rng.random() < 0.6 else b"".join(lines)[:-1]
        at = self.rng.randint(0, len(data))
        return [data[:at], data[at:]]

    def begin(self) -> None:
        """A file is made: under a name that says that it is not finished, or in place."""
        name = f"{PLACE}/{self.rng.choice('abcdefgh')}{self.rng.choice(('', '.gz'))}"
        in_place = self.settle_ms >= 300 and self.rng.random() < 0.4
        if in_place and name in self.files.names:
            return
        first_name = name if in_place else f"{name}.{len(self.drops)}.tmp"
        inode = self.files.create(first_name, reuse=self.rng.random() < 0.5)
        inode.packed = name.endswith(".gz") and self.rng.random() < 0.7
        inode.broken = "corrupt" if inode.packed and self.bad_rate and self.rng.random() < 0.2 else ""
        drop = Drop(inode, name, self.text(), self.files.now_ms if in_place else None, last_ms=self.files.now_ms)
        drop.bad = bool(inode.broken)
        self.drops.append(drop)
        self.writing.append(drop)
        if self.rng.random() < 0.6:
            self.go_on(drop)

    def go_on(self, drop: Drop) -> None:
        """Its maker writes the next piece; the last one is dropped by a rename, where it has to be."""
        if self.files.now_ms - drop.last_ms > self.settle_ms // 4 and drop.visible_ms is not None:
            drop.bad = True  # it was left alone for too long
        if drop.left:
            self.files.append(drop.inode, drop.left.pop(0))
            drop.last_ms = self.files.now_ms
        if drop.left:
            return
        self.writing.remove(drop)
        if drop.visible_ms is None:
            self.replaced(drop.name)
            self.files.rename(next(name for name, inode in self.files.names.items() if inode is drop.inode), drop.name)
            drop.visible_ms = self.files.now_ms

    def replaced(self, name: str) -> None:
        """A file is about to be replaced or removed."""
        for drop in self.drops:
            if drop.inode is self.files.names.get(name):
                drop.bad = drop.bad or not self.is_done(drop)
                self.writing = [each for each in self.writing if each is not drop]

    def misbehave(self) -> None:
        """Somebody changes or removes a file that was dropped."""
        there = [drop for drop in self.drops if self.files.names.get(drop.name) is drop.inode]
        if not there:
            return
        drop, what = self.rng.choice(there), self.rng.random()
        drop.bad = True
        self.spoilt |= self.lines_of(drop)
        self.writing = [each for each in self.writing if each is not drop]
        if what < 0.4:
            self.count += 1
            self.files.append(drop.inode, b"late %d\n" % self.count)
        elif what < 0.6:
            self.files.truncate(drop.inode)
            self.count += 1
            self.files.append(drop.inode, b"other %d\n" % self.count * self.rng.choice((1, 9)))
        elif what < 0.8:
            self.files.unlink(drop.name)
        else:
            drop.inode.mtime_ms = self.files.now_ms

    def is_done(self, drop: Drop) -> bool:
        """Whether it is durable that all of it is acknowledged."""
        stat = self.files.stat(drop.inode)
        rows = [row for row in self.disk.streams.values() if (row.key, row.birth_ns) == (stat.key, stat.birth_ns)]
        return any(row.dropped == Dropped(stat.size, stat.mtime_ns, DONE) for row in rows)

    def lines_of(self, drop: Drop) -> set[bytes]:
        lines = bytes(drop.inode.data).split(b"\n")
        return set(lines if lines[-1] else lines[:-1])

    # ---- the agent

    def start(self) -> Drops:
        self.files.close_all()
        self.end()
        self.sent_of: dict[int, list[str]] = {}  # by partition, the streams in the order of this run's chunks
        self.looked = False
        return Drops(self.disk.streams.values(), self.disk.chunks.values(), self.run())

    def power_cut(self) -> None:
        """What was not synced may be as it was before."""
        for name, to, inode in reversed(self.undone):
            if (
                self.rng.random() < 0.5
                or name in self.files.names
                or (to is not None and self.files.names.get(to) is not inode)
            ):
                continue
            if to is not None:
                del self.files.names[to]
            elif inode.number in self.files.free:
                self.files.free.remove(inode.number)
                inode.links = 1
                for line in self.files.lines[id(inode)]:
                    line.destroyed_ms = None
            else:
                continue
            self.files.names[name] = inode
        self.undone.clear()

    def look(self) -> Look:
        folder = Folder(
            PLACE, Input("in", PLAIN, split_bytes=40), when_done=self.when_done, settle_ms=self.settle_ms, unfinished=(".tmp",)
        )
        if not self.looked:
            self.sent_of.clear()  # until it was found again, what was begun stood back
            self.looked = not self.away
        if self.away:
            return Look(self.now(), (), {}, {PLACE: ""})
        found = [
            Found(name, self.files.stat(inode), folder)
            for name, inode in self.files.names.items()
            if not folder.is_unfinished(name.rsplit("/", 1)[1])
        ]
        return Look(self.now(), tuple(found), {PLACE: False})

    def meanwhile(self) -> None:
        if self.rng.random() < 0.1:
            self.act()

    def do(self, effect: Any) -> Any:
        match effect:
            case Lost():
                self.lost.append(effect)
            case PutAway():
                return self.put_away(effect)
            case SyncFolder():
                self.undone.clear()
                return True
            case Open() if self.away:
                return NotOpened("no such file", denied=False)
            case Open() | Measure() | Stat() | Read() | Close():
                return self.files.do(effect)
        return super().do(effect)

    def send(self, effect: Any) -> Shipped:
        order = self.sent_of.setdefault(effect.stream.partition, [])
        assert effect.stream.stream_id not in order[:-1], "two files of a partition are mixed"
        if not order or order[-1] != effect.stream.stream_id:
            order.append(effect.stream.stream_id)
        return super().send(effect)

    def put_away(self, effect: PutAway) -> Ending:
        inode = None if self.away else self.files.names.get(effect.path)
        if inode is None or not is_same(self.files.stat(inode), effect.stat):
            return Ending.CHANGED
        row = self.disk.streams[effect.stream_id]
        assert row.dropped is not None
        assert row.dropped.state == DONE, "put away before that was durable"
        missing = set(bytes(inode.data).split(b"\n")) - self.broker.delivered_lines() - {b""}
        assert not missing or inode.broken, f"put away with {missing} undelivered"
        if self.rng.random() < 0.1 and not self.healing:
            return Ending.REFUSED
        if effect.when_done == DELETE:
            self.undone.append((effect.path, None, inode))
            self.files.unlink(effect.path)
        else:
            to = f"{effect.path}{'' if f'{effect.path}.done' not in self.files.names else '.' + effect.stream_id}.done"
            self.undone.append((effect.path, to, inode))
            self.files.rename(effect.path, to)
        return Ending.DONE

    def turn(self) -> None:
        if self.rng.random() < 0.6:
            self.act()
        self.tick()
        what = self.rng.random()
        try:
            if what < 0.35:
                self.carry_out(self.core.look(self.look()))
            elif what < 0.75:
                self.carry_out(self.core.read(self.now()))
            elif what < 0.95:
                self.broker_turn()
            else:
                self.disk.flush()
        except CrashedError:
            if self.rng.random() < 0.3:
                self.power_cut()
            for _ in range(self.rng.choice((0, 0, 3, 9))):
                self.act()
            self.core = self.start()
        self.check_claim()

    def check_claim(self) -> None:
        """Every line that was readable at T is delivered, but of files that somebody spoilt."""
        claim = self.core.complete_at()
        if claim is None or any(begun <= claim.monotonic_ms < ended for begun, ended in self.away_ms):
            return
        delivered = self.broker.delivered_lines()
        for drop in self.drops:
            if drop.bad or drop.visible_ms is None or drop.visible_ms > claim.monotonic_ms:
                continue
            for line in self.files.lines[id(drop.inode)]:
                due = line.written_ms <= claim.monotonic_ms and line.destroyed_ms is None
                assert not due or line.text in delivered, f"claimed complete at {claim.monotonic_ms}, missing {line}"

    def heal(self) -> None:
        """All is left alone: everything must arrive."""
        while self.writing:
            self.writing[0].bad = self.writing[0].bad or self.writing[0].visible_ms is not None
            self.go_on(self.writing[0])
        self.healing, self.away = True, False
        self.sent_of.clear()
        if self.away_ms:
            self.away_ms[-1] = (self.away_ms[-1][0], min(self.away_ms[-1][1], self.files.now_ms))
        for _ in range(60):
            self.files.now_ms += 1000
            self.carry_out(self.core.look(self.look()))
            while self.carry_out(self.core.read(self.now())):
                self.broker_turn()
            self.broker_turn()
        self.disk.flush()

    def check_end(self) -> None:
        found: Counter[bytes] = Counter()
        for stream_id in {identity[0] for identity in self.broker.events}:
            found.update(self.lines_in(stream_id))
        held: Counter[bytes] = Counter()
        for drop in self.drops:
            if drop.inode.data:
                held.update(self.lines_of(drop))
        spoilt = self.spoilt | {line for drop in self.drops if drop.bad for line in self.lines_of(drop)}
        for line, count in held.items():
            if not any(each.startswith(line) for each in spoilt):  # of what was spoilt a piece may have been sent as a line
                assert found[line] == count, f"{line!r} is in {count} files, and was shipped {found[line]} times"
        for drop in self.drops:
            if not drop.bad and drop.inode.data:
                there = self.files.names.get(drop.name) is drop.inode
                assert there == (self.when_done == KEEP) or drop.inode.links == 0, f"{drop.name} was not put away"
        if not any(drop.bad for drop in self.drops):
            assert not self.lost, "nothing was spoilt, and something is called lost"
        known = {(row.device, row.inode) for row in self.disk.streams.values()}
        assert known <= {(1, inode.number) for name, inode in self.files.names.items()}, "a file that is gone is not forgotten"
        for row in self.disk.streams.values():
            assert row.dropped is not None
            assert row.dropped.state != "shipping", f"{row.path} is never done with"
        self.check_spoilt(set(found))
        claim = self.core.complete_at()
        assert claim is not None, "nothing is claimed"
        assert claim.monotonic_ms > self.files.now_ms - 10_000, "nothing new is claimed though all is quiet"

    def check_spoilt(self, found: set[bytes]) -> None:
        """What is not shipped of a file that is there was said."""
        said = {(lost.stream.inode, lost.stream.birth_ns) for lost in self.lost}
        for drop in self.drops:
            if self.files.names.get(drop.name) is drop.inode and self.lines_of(drop) - found:
                assert (drop.inode.number, drop.inode.birth_ns) in said, f"{drop.name} is not shipped, and nobody is told"

    def lines_in(self, stream_id: str) -> list[bytes]:
        """The lines of one stream, each behind the one before without a hole, unless it was stopped."""
        stopped = {lost.stream.stream_id for lost in self.lost}
        lines: list[bytes] = []
        ended = (0, 0)
        for position, part, event in self.broker.of_stream(stream_id):
            data = event["message"].encode(event["encoding"])
            assert event["since"] in ended or stream_id in stopped, "a hole before a record"
            ended = (position + len(data), position + len(data) + 1)
            if part and lines:
                lines[-1] += data
            else:
                lines.append(data)
        return lines


def dropped_files_are_shipped_once(rng: random.Random) -> None:
    Simulation(rng).live(150)


def test_every_dropped_file_is_shipped_once_and_put_away() -> None:
    run_seeds(dropped_files_are_shipped_once, count=70)


@each_guard(
    (Resting, "rest", "yield Save(tuple(file.row for file in files))", "pass"),
    (Resting, "rest", "and file.is_as_begun(file.stat)", ""),
    (Resting, "_forget", "synced[place] = yield SyncFolder(place)", "synced[place] = True"),
    (Resting, "_judge", "(yield from copies(stream, opened.handle, row.position))", "True"),
    (Resting, "look", "if grown:", "if False:"),
    (Drops, "_follow", "if not file.is_as_begun(found.stat):", "if False:"),
    (Drops, "_changed", "self._resting.doubt(file.key, self._listed)", "pass"),
    (Drops, "_in_turn", "begun.sort(key=lambda file: not file.stream.saved)", "pass"),
    (Drops, "read", "if moves and not file.read:", "if False:"),
    (Drops, "_rest", "if file.acknowledged", "if file.read"),
    (Drops, "_gone", "file.stream.read_to >= file.row.size_seen and not file.stream.replay", "True"),
    (Look, "would_show", "return False", "return True"),
    (Arrival, "is_settled", "now.monotonic_ms - self.since_ms >= self.found.folder.settle_ms", "True"),
    (Drops, "complete_at", "unfinished = [arrival.before for arrival in self._arrivals.waited_for]", "unfinished = []"),
)
def test_a_guard_taken_out_is_noticed(guard: Guard) -> None:
    assert guard.is_noticed(dropped_files_are_shipped_once, count=400)

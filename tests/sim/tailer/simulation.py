"""One agent that tails, among writers that write in pieces and rotators of every kind; an oracle that knows every line."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from headrace.agents.effects import Close, Input, Listing, Lost, Measure, Open, Read, Save, Stat
from headrace.agents.events.containers import stderr_stream_id
from headrace.agents.rows import PASSED, StreamRow
from headrace.agents.start import BEGINNING
from headrace.agents.tail import archives, beginning, meeting, proof, reading, stream
from headrace.agents.tail.reading import Limits
from headrace.agents.tail.tailer import Tailer
from tests.sim.agent_life import CrashedError
from tests.sim.tailer.past import Past
from tests.sim.tailer.world import Files, Inode
from tests.sim.tailer.writers import CONTAINERS, LEFT_OUT, PIPELINES, TRACES, Writers, to_deliver


class Simulation(Writers):
    """One agent's life, several times, in one world.

    Args:
        pipelines: one of them is configured at a time; with TRACES alone, writers write events of several lines, too.
        calms: now and then nobody writes until the agent has come to rest; and few files may be open.
        starts: of these one is the input's `start`; there are files before it begins.
    """

    core: Tailer

    def __init__(
        self,
        rng: random.Random,
        pipelines: tuple[str, ...] = PIPELINES,
        *,
        calms: bool = False,
        starts: tuple[str, ...] = ("beginning",),
    ) -> None:
        super().__init__(rng, pipelines)
        self.calms = calms
        self.files = Files(births=rng.random() < 0.5)
        self.all_names = rng.random() < 0.7
        self.reload_rate = rng.choice((0.0, 0.0, 0.05, 0.2))
        self.orphans = rng.random() < 0.5  # whether no other input ships to the topic
        self.asked, self.excused_ms = True, 0  # whether an input asks for the files; what was written before may be missing
        chunk_bytes = rng.choice((24, 64, 512))
        self.limits = Limits(chunk_bytes, chunk_lines=rng.choice((1, 3, 50)), settled_streams=chunk_bytes % 3)
        self.crash_rate = rng.choice((0.0, 0.002, 0.02))
        self.once_rate = rng.choice((0.0, 0.0, 0.7))
        self.banner = rng.choice((b"", b"the first line of every file is the same\n"))
        self.writers: dict[str, Any] = {name: self.files.create(name, reuse=False) for name in self.names}
        old = self.files.create("a.log.0", reuse=False)
        self.files.append(old, b"never asked for\n")
        old.mtime_ms -= 3_600_000
        self.read_from: list[Inode] = []  # files that this run has begun to ship
        self.shipping = False
        self.began_ms = 0  # when the agent's turn began
        self.acts_left = 0  # how much others may do within one turn of the agent
        self.lost = False
        self.past = Past(self) if starts != ("beginning",) else None
        self.begin_at = BEGINNING if self.past is None else self.past.start_of(rng.choice(starts))
        self.core = self.start()
        if calms:
            self.files.most_handles = rng.choice((3, 6, 1000))

    # ---- the agent

    def reload(self) -> None:
        """The configuration is read again: other pipelines, and an input that comes or goes."""
        split_bytes = self.rng.choice((16, 40, 4096))
        self.input = Input("logs", self.rng.choice(self.pipelines), split_bytes=split_bytes, start=self.begin_at)
        self.asked = not self.asked
        self.excused_ms = self.files.now_ms
        self.owed.clear()

    def listed(self) -> Listing:
        known = self.core.known_paths
        asked = self.asked or self.healing
        return self.files.listing(self.now(), self.input, known, all_names=self.all_names, asked=asked, orphans=self.orphans)

    def start(self) -> Tailer:
        """The agent, from what is durable; at its first start it decides where files begin."""
        tailer, crashes = self.made(), 0
        while self.past is not None and not self.disk.inputs:
            self.acts_left = 0
            known = {("logs", name) for name in self.files.names}
            listing = self.files.listing(self.now(), self.input, known, all_names=self.all_names)
            try:
                self.carry_out(tailer.beginnings.decide(listing, {("logs", "")}))
            except CrashedError:
                crashes += 1
                if crashes == 20:  # with ever more files it would never come to the end
                    self.crash_rate = 0.0
                self.down()
                tailer = self.made()
        return tailer

    def made(self) -> Tailer:
        self.files.close_all()
        self.end()
        rng = self.rng
        # Some runs are finite: they take unterminated tails for lines, and the next run finds them longer.
        self.finite = not self.healing and rng.random() < self.once_rate
        self.read_from.clear()
        # The configuration may have changed meanwhile.
        pipeline, split_bytes = rng.choice(self.pipelines), rng.choice((16, 40, 4096))
        self.input = Input("logs", pipeline, split_bytes=split_bytes, start=self.begin_at)
        ready_ms = self.files.now_ms + rng.choice((0, 0, 0, 2000))
        run = self.run(ready=lambda _: self.healing or self.files.now_ms >= ready_ms, once=self.finite)
        return Tailer(self.disk.streams.values(), self.disk.chunks.values(), run, max_open=rng.choice((1, 3, 100)))

    def meanwhile(self) -> None:
        if self.acts_left and self.rng.random() < 0.2:
            self.acts_left -= 1
            self.act()

    def do(self, effect: Any) -> Any:
        match effect:
            case Read() if self.shipping:
                self.read_from.append(self.files.handles[effect.handle])
            case Close():
                self.check_close(effect.handle)
            case Lost():
                self.lost = True
        if isinstance(effect, Open | Measure | Stat | Read | Close):
            return self.files.do(effect)
        answer = super().do(effect)
        if isinstance(effect, Save) and effect.inputs and self.past is not None:
            self.past.decided()
        return answer

    def check_close(self, handle: int) -> None:
        """What no name leads to any more is let go once all its lines are delivered (a finite run stops at what it found)."""
        inode = self.files.handles[handle]
        if inode.links or self.finite or not self.asked or not any(inode is each for each in self.read_from):
            return
        if inode.removed_ms >= self.began_ms:  # since the agent looked: not to be known
            return
        delivered = self.broker.delivered_lines() | self.passed
        for line in to_deliver(bytes(inode.data).split(b"\n")[:-1]):
            assert line in delivered, f"a removed file was closed, and nobody delivered {line!r}"

    @property
    def passed(self) -> set[bytes]:
        """Lines that are not to be shipped."""
        return self.past.passed if self.past is not None else set()

    def calm(self) -> None:
        """Nobody writes for a while, and the agent comes to rest; then a file is written anew, or everybody goes on."""
        if self.healing or self.finite:
            return
        try:
            for _ in range(4):
                self.tick()
                self.acts_left, self.shipping, self.began_ms = 0, False, self.files.now_ms
                self.carry_out(self.core.look(self.listed()))
                self.shipping = True
                while self.carry_out(self.core.read(self.now())):
                    pass
                self.broker_turn()
        except CrashedError:
            self.core = self.start()
        if self.rng.random() < 0.5 and (inode := self.files.names.get(self.rng.choice(self.names))) is not None:
            self.tick()
            self.refill(inode, 4)
        self.check_claim()

    def turn(self) -> None:
        if self.rng.random() < 0.6:
            self.act()
        if self.calms and self.rng.random() < 0.1:
            self.calm()
        self.tick()
        if self.rng.random() < self.reload_rate:
            self.reload()
        what = self.rng.random()
        self.acts_left, self.shipping, self.began_ms = 20, False, self.files.now_ms
        try:
            if what < 0.3:
                self.carry_out(self.core.look(self.listed()))
            elif what < 0.75:
                self.shipping = True
                self.carry_out(self.core.read(self.now()))
            elif what < 0.95:
                self.broker_turn()
            else:
                self.disk.flush()
        except CrashedError:
            self.down()
            self.core = self.start()
        self.check_claim()

    def check_claim(self) -> None:
        """Every line that was readable at T in a file of ours is in the broker's log, unless its loss was said."""
        claim = self.core.complete_at()
        if claim is None or self.lost or not self.asked:
            return
        delivered = self.broker.delivered_lines() | self.passed
        for inode in self.files.kept:
            if not self.all_names and inode not in [self.files.names.get(name) for name in self.names]:
                continue
            for line in self.files.lines[id(inode)]:
                due = self.excused_ms < line.written_ms <= claim.monotonic_ms
                readable = due and line.destroyed_ms is None and to_deliver([line.text])
                assert not readable or line.text in delivered, f"claimed complete at {claim.monotonic_ms}, missing {line}"

    def heal(self) -> None:
        """Nobody writes and nothing crashes any more: everything must arrive."""
        self.healing = True
        if self.finite:
            self.core = self.start()
        for turn in range(2000):  # many where few files may be open
            claim = self.core.complete_at()
            tails = any(each.handle is not None and each.tail_bytes for each in self.core.streams if each.rotated)
            if turn >= 60 and not tails and claim is not None and claim.monotonic_ms > self.files.now_ms - 10_000:
                break
            self.files.now_ms += 2000
            self.carry_out(self.core.look(self.listed()))
            while self.carry_out(self.core.read(self.now())):
                self.broker_turn()
            self.broker_turn()
        self.disk.flush()

    def check_end(self) -> None:
        delivered = self.broker.delivered_lines()
        for name, inode in self.files.names.items():
            if not self.all_names and name not in self.names and inode not in self.owed:
                continue
            *whole, tail = bytes(inode.data).split(b"\n")
            for line in to_deliver(whole):
                assert line in delivered or line in self.passed, f"{name} holds {line!r}, and nobody delivered it"
            if tail and not inode.broken and name not in self.names and name[:5] in self.files.names:
                assert tail in delivered, f"{name} was rotated away with the tail {tail!r}, and nobody delivered it"
        if self.past is not None:
            self.past.check(delivered)
        if self.begin_at.from_beginning:
            self.check_old(b"never asked for" in delivered)
        for row in self.disk.streams.values():
            self.check_lines(row)
        if self.pipelines == (TRACES,):
            self.check_traces()
        assert not self.disk.chunks or any(row.detached for row in self.disk.streams.values())
        claim = self.core.complete_at()
        assert claim is not None, "nothing is claimed"
        assert claim.monotonic_ms > self.files.now_ms - 10_000, "nothing new is claimed though all is quiet"

    def check_old(self, is_shipped: bool) -> None:
        assert self.all_names == is_shipped, "an old rotated file is shipped if it is asked for"

    def check_traces(self) -> None:
        """What was written as one event, without a pause, is in one event, whatever came between its lines meanwhile."""
        events = {event.split(b"\n", 1)[0]: event for event in self.broker.delivered_events()}
        for trace in self.whole:
            whole = trace.data[:-1]
            event = events.get(whole.split(b"\n", 1)[0])
            if event is not None and whole.startswith(event) and whole != event:  # its later parts were destroyed
                assert whole[len(event) : len(event) + 1] != b"\n", f"{whole!r} in pieces: {event!r}"
            else:
                assert event in (None, whole), f"{whole!r} in pieces: {event!r}"

    def check_lines(self, row: StreamRow) -> None:
        """The records of a stream whose file is there are exactly the file's lines: as many begin, in order, byte for byte."""
        files = [inode for inode in self.files.names.values() if (1, inode.number) == row.key]
        if row.detached or not files or row.begin == PASSED:
            return
        if row.path not in self.files.names and any(each.left for each in self.core.streams if each.row == row):
            return  # rotated away while no input asked for it, and nothing bears its name now that one does
        if self.past is not None:
            assert row.begin == self.past.begins.get(id(files[0]), row.begin), f"{row.path}: begun elsewhere"
        found: list[bytes] = []
        for stream_id in (row.stream_id, stderr_stream_id(row.stream_id)):
            found += self.check_chain(stream_id, files[0], row.begin)
        data = bytes(files[0].data)
        assert row.position >= data.rfind(b"\n"), f"{row.path}: followed, and not to its end"
        lines = data[row.begin : row.position].split(b"\n")
        found = to_deliver([line for event in found for line in event.split(b"\n")])
        expected = to_deliver(lines if lines[-1] else lines[:-1])
        if self.pipelines == (CONTAINERS,):  # each of the two streams in its order
            found, expected = sorted(found), sorted(expected)
        assert found == expected, f"{row.path}: not the lines of the file"

    def check_chain(self, stream_id: str, file: Inode, begin: int) -> list[bytes]:
        """The events of one stream: each begins where a line does, and behind the one before without a hole."""
        found: list[bytes] = []
        ended = (begin, begin)  # where the record before ends, without its newline and with it
        last_part = 0
        for position, part, event in self.broker.of_stream(stream_id):
            data = event["message"].encode(event["encoding"])
            assert event["since"] in ended, "a hole before a record"
            between = self.pipelines == (CONTAINERS,) and part == last_part + 1  # of the event's lines are the other stream's
            goes_on = position == ended[0] or (between and event["since"] == ended[1])
            last_part = part
            ended = (position + len(data), position + len(data) + 1)
            if part and not goes_on:
                continue  # the rest of a line whose first piece, sent by a finite run, was one to be left out
            assert part == 0 or found, "a part without a beginning"
            assert part or not data.startswith(LEFT_OUT), "a line was sent that is to be left out (not one sent in pieces)"
            if part:
                found[-1] += data
            else:
                assert position == 0 or file.data[position - 1 : position] == b"\n", "a line begins in the middle of one"
                found.append(data)
        return found


@contextmanager
def fingerprints_of(head_bytes: int, guard_bytes: int) -> Iterator[None]:
    """Shorter fingerprints than the product's, so that small files have bytes that none of them covers."""
    with (
        mock.patch.object(reading, "GUARD_BYTES", guard_bytes),
        mock.patch.multiple(proof, HEAD_BYTES=head_bytes, GUARD_BYTES=guard_bytes),
        mock.patch.multiple(stream, HEAD_BYTES=head_bytes, GUARD_BYTES=guard_bytes),
        mock.patch.object(meeting, "HEAD_BYTES", head_bytes),
        mock.patch.object(archives, "HEAD_BYTES", head_bytes),
        mock.patch.multiple(beginning, HEAD_BYTES=head_bytes, GUARD_BYTES=guard_bytes, SCANNED_BYTES=64, _BLOCK_BYTES=50),
    ):
        yield

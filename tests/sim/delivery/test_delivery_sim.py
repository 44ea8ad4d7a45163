"""The delivery before a broker that refuses, forgets, is slow or away, with a disk that refuses, and agents that end anywhere.

Held under every seed: a chunk is done only when each of its records is acknowledged, or durable in `rejected/` and, where
there is a topic for it, a dead letter; what it counts is just that. Nothing of a stream is handed over behind a record that
waits, failed, or is with another client. A repeat is equal byte for byte. In the end all is delivered, and what a topic or
disk refuses for ever holds nobody else up.
"""

import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from confluent_kafka import KafkaError, admin

from headrace.agents import producer, rejected
from headrace.agents.clients import Clients
from headrace.agents.delivery import Delivery
from headrace.agents.outgoing import Outgoing
from headrace.agents.producer import PERMANENT, LastingProducer
from headrace.agents.rejected import Rejected
from headrace.agents.windows import ChunkResult
from headrace.audit import HASH_MODULUS
from tests.sim.delivery.client import LETTERS, Admin, Broker, Client, Given
from tests.sim.delivery.disk import Disk
from tests.sim.delivery.world import ACKED, AGENT, GIVEN, HELD, REFUSED, WAITS, Chunk, Record, Source
from tests.sim.harness import Guard, each_guard, run_seeds

FOREVER = 400  # turns after which what is to come has come


class Simulation:
    """One agent's delivery, several times, in one world."""

    def __init__(self, rng: random.Random, folder: Path) -> None:
        self.rng, self.folder = rng, folder
        self.broker = Broker(rng)
        self.broker.fail_rate = rng.choice((0.0, 0.02, 0.2))
        self.broker.fatal_rate = rng.choice((0.0, 0.0, 0.02))
        self.broker.small_rate = rng.choice((0.0, 0.1))
        self.disk = Disk(rng, folder)
        self.disk.refuse_rate = rng.choice((0.0, 0.0, 0.1))
        self.room = rng.choice((3, 8, 1000))
        self.letters = rng.choice((None, LETTERS))
        places = (("logs", 0), ("logs", 0), ("own", 0), ("other", 1))
        self.sources = [Source(rng, number, *place) for number, place in enumerate(places)]
        self.by_name = {source.row.stream_id: source for source in self.sources}
        self.values: dict[tuple[str, int], bytes] = {}
        self.results: dict[tuple[str, int], ChunkResult] = {}  # durable
        self.clients: list[Client] = []
        self.admin = Admin(rng)

    # ---- an agent begins and ends

    def start(self) -> None:
        self.done: dict[tuple[str, int], ChunkResult] = {}
        for source in self.sources:
            source.sent = source.durable
        self.records: dict[tuple[bytes, int], tuple[Chunk, Record]] = {}
        store = Rejected(self.folder, 10**9)
        self.delivery = Delivery({}, AGENT, store, self.letters, lambda *_: None)

    def end(self) -> None:
        """kill -9, a loss of power, or a stop in order."""
        how = self.rng.random()
        if how < 0.3:
            self.delivery.let_go()
            assert all(client.let_go for client in self.clients)
        for client in self.clients:
            client.die()
        self.clients.clear()
        if how > 0.6:
            self.disk.lose_power()
        self.start()

    def client(self, config: dict[str, Any], logger: Any) -> Client:
        made = Client(self.broker, config, self.room, self.check_given, self.hear)
        self.clients = [client for client in self.clients if client.kind != made.kind or len(client)]
        self.clients.append(made)
        return made

    # ---- what is held when a record is handed over, and when word of it comes

    def record_of(self, given: Given) -> tuple[Chunk, Record]:
        if not given.headers:
            return self.records[given.payload, -1]
        return self.records[str(given.headers["stream_id"]).encode(), int(given.headers["position"])]

    def letter_of(self, given: Given) -> tuple[Chunk, Record]:
        named = {name: value.decode() for name, value in given.headers.items()}
        chunk = next(
            chunk
            for chunk in self.by_name[named["stream_id"]].given()
            if chunk.row.start <= int(named["position"]) < chunk.row.end
        )
        return chunk, next(record for record in chunk.records if record.position == int(named["position"]))

    def check_given(self, client: Client, given: Given) -> None:
        if given.topic() == LETTERS:
            chunk, record = self.letter_of(given)
            assert self.is_kept(chunk, record), "a dead letter of what is not in rejected/"
            self.check_letter(chunk, record)
            return
        chunk, record = self.record_of(given)
        assert record.value == given.payload
        assert record.state in (WAITS, HELD), f"{record} is sent again"
        for earlier in self.by_name[chunk.row.stream_id].given():
            for each in earlier.records:
                if each is record:
                    record.state, record.client = GIVEN, client
                    return
                settled = each.state in (ACKED, REFUSED) or (each.state == GIVEN and each.client is client)
                assert settled, f"{record.line!r} is handed over behind {each.line!r}, which {each.state}"
            if not any(each.state == GIVEN for each in earlier.records):
                kept = all(self.is_settled(earlier, each) for each in earlier.records if each.state == REFUSED)
                assert kept, f"{record.line!r} is handed over before what was refused is kept"
        raise AssertionError("it is none of ours")

    def check_letter(self, chunk: Chunk, record: Record) -> None:
        assert record.letter in (WAITS, HELD), f"{record} is sent again as a letter"
        for earlier in self.by_name[chunk.row.stream_id].given():
            for each in earlier.records:
                if each is record:
                    record.letter = GIVEN
                    return
                settled = each.state != REFUSED or each.letter in (GIVEN, ACKED, REFUSED)
                assert settled, f"the letter of {record.line!r} is handed over behind that of {each.line!r}"

    def hear(self, given: Given, error: KafkaError | None) -> None:
        final = error is not None and error.code() in PERMANENT
        if given.topic() == LETTERS:
            _, record = self.letter_of(given)
            assert record.letter == GIVEN
            record.letter = ACKED if error is None else REFUSED if final else HELD
            if error is None:
                record.letter_offset = given.at or 0
            return
        _, record = self.record_of(given)
        assert record.state == GIVEN
        if error is None:
            record.state, record.offset = ACKED, given.at or 0
        else:
            record.state = REFUSED if final and record.client.is_single else HELD

    def is_kept(self, chunk: Chunk, record: Record) -> bool:
        return (chunk.row.stream_id, record.position) in self.disk.kept

    def is_settled(self, chunk: Chunk, record: Record) -> bool:
        return self.is_kept(chunk, record) and (self.letters is None or record.letter in (ACKED, REFUSED))

    def check_done(self, chunk: Chunk, result: ChunkResult) -> None:
        assert (chunk.row.stream_id, chunk.row.start) not in self.done, "done twice"
        acked = [record for record in chunk.records if record.state == ACKED]
        for record in chunk.records:
            assert record.state == ACKED or self.is_settled(chunk, record), f"{record} is neither there nor kept"
            assert record.is_bad == (record.state != ACKED)
        assert sum(result.rejected.values()) == len(chunk.records) - len(acked)
        assert result.next_offset == max((record.offset + 1 for record in acked), default=0)
        tallies = list(result.windows.values())
        assert sum(tally.count for tally in tallies) == len(acked)
        assert sum(tally.bytes_total for tally in tallies) == sum(len(chunk.counted(record)) for record in acked)
        hashes = sum(chunk.hash_of(record) for record in acked)
        assert sum(tally.content_hash for tally in tallies) % HASH_MODULUS == hashes % HASH_MODULUS
        letters = [record.letter_offset + 1 for record in chunk.records if record.letter_offset >= 0]
        assert max((end for _, _, end in result.dead_letters), default=0) == max(letters, default=0)

    # ---- what happens

    def send(self, source: Source, *, new: bool) -> None:
        chunk = source.next_chunk(new=new)
        if chunk is None:
            return
        encoded = chunk.encoded()
        headers = [(name["stream_id"], int(name["position"])) for name in map(dict, encoded.headers)]
        for record in chunk.records:
            if record.value:
                key = (chunk.row.stream_id, record.position)
                assert self.values.setdefault(key, record.value) == record.value
                name = (key[0].encode(), key[1]) if headers else (record.value, -1)
                self.records[name] = (chunk, record)
                if b"local" in record.line:
                    record.state = REFUSED  # at once, when its turn comes
        self.delivery.send(chunk.stream, chunk.row, encoded)

    def take_done(self) -> None:
        for stream_id, start, result in self.delivery.take_done():
            chunk = next(chunk for chunk in self.by_name[stream_id].given() if chunk.row.start == start)
            self.check_done(chunk, result)
            self.done[stream_id, start] = result

    def save(self) -> None:
        """Positions that passed what is done become durable, with its counts."""
        for source in self.sources:
            for chunk in list(source.given()):
                key = (chunk.row.stream_id, chunk.row.start)
                if key not in self.done:
                    break
                assert key not in self.results
                self.results[key] = self.done[key]
                source.durable += 1

    def turn(self) -> None:
        what, rng = self.rng.random(), self.rng
        if what < 0.2 and not self.delivery.full:
            self.send(rng.choice(self.sources), new=True)
        elif what < 0.5:
            for client in self.clients:
                client.step()
            self.admin.step()
        elif what < 0.7:
            self.delivery.poll(0)
        elif what < 0.8:
            self.take_done()
        elif what < 0.86:
            self.delivery.pump()
        elif what < 0.92:
            self.delivery.retry_failed()
        elif what < 0.95:
            self.save()
        elif what < 0.98:
            self.broker.refusing ^= {rng.choice(("logs", "own", "other", LETTERS))}
        elif rng.random() < 0.2:
            self.end()

    def whole_turns(self, count: int) -> None:
        """The agent's turns, each a second of its time."""
        for _ in range(count):
            for source in self.sources:
                self.send(source, new=False)
            for client in self.clients:
                client.step()
            self.admin.step()
            self.delivery.poll(0)
            self.delivery.poll(0)
            self.take_done()
            self.delivery.retry_failed()
            self.save()

    def settles(self, *sources: Source) -> bool:
        for _ in range(FOREVER):
            if all(source.durable == len(source.chunks) for source in sources):
                return True
            self.whole_turns(5)
        return False

    def heal(self) -> None:
        """Nothing is read any more; first one topic still refuses, then nothing does."""
        self.broker.fail_rate = self.broker.fatal_rate = self.disk.refuse_rate = 0.0
        self.broker.refusing = {self.rng.choice(("logs", "own", "other", LETTERS))}
        others = [source for source in self.sources if source.row.topic not in self.broker.refusing]
        if LETTERS in self.broker.refusing and self.letters:
            others = [source for source in others if not source.bad_rate]
        assert self.settles(*others), "a topic holds another up"
        self.broker.refusing = set()
        assert self.settles(*self.sources), "something is never done"

    def check_end(self) -> None:
        letters = {(given.headers["stream_id"], given.payload) for given in self.broker.logs.get((LETTERS, 0), ())}
        for source in self.sources:
            log = {given.payload for given in self.broker.logs.get((source.row.topic, source.row.partition), ())}
            for chunk in source.chunks:
                for record in chunk.records:
                    assert (record.value in log) is not record.is_bad, record
                    assert self.is_kept(chunk, record) is record.is_bad, record
                    lettered = record.is_bad and self.letters is not None and b"noletter" not in record.line
                    letter = (source.row.stream_id.encode(), record.value or record.line)
                    assert (letter in letters) is lettered, record


@contextmanager
def simulated(rng: random.Random) -> Iterator[Simulation]:
    with tempfile.TemporaryDirectory() as folder:
        simulation = Simulation(rng, Path(folder) / "rejected")
        with (
            mock.patch.object(producer, "Producer", simulation.client),
            mock.patch.object(admin, "AdminClient", return_value=simulation.admin),
            mock.patch.object(rejected, "os", simulation.disk),
        ):
            simulation.start()
            yield simulation


def delivery_is_done_when_all_is_there(rng: random.Random) -> None:
    with simulated(rng) as simulation:
        for _ in range(rng.randint(20, 400)):
            simulation.turn()
        simulation.heal()
        simulation.check_end()


def test_a_chunk_is_done_when_each_record_is_acknowledged_or_kept_and_order_stays() -> None:
    run_seeds(delivery_is_done_when_all_is_there, count=80)


@each_guard(
    (Delivery, "pump", "if stream_id in blocked:", "if False:"),
    (Delivery, "pump", "(self.full or entry.holds_up)", "self.full"),
    (Delivery, "pump", "if entry.waiting or entry.holds_up:", "if entry.waiting:"),
    (Delivery, "pump", "and stream_id not in on_their_way:", ":"),
    (Delivery, "pump", "not (entry.retry or entry.failed) and", ""),
    (Delivery, "_hand_over", "break", "pass"),
    (
        Delivery,
        "_hand_over_alone",
        "if not entry.not_taken(error.args[0], record):",
        "if entry.not_taken(error.args[0], record) is None:",
    ),
    (
        Delivery,
        "_hand_over_letters",
        "if not entry.letter_not_taken(error.args[0], letter):",
        "if entry.letter_not_taken(error.args[0], letter) is None:",
    ),
    (Delivery, "_hand_over_letters", "entry.letters += letters[taken + 1 :]", "pass"),
    (Clients, "one_by_one", "batch_records=1", "batch_records=2"),
    (Delivery, "_client_of", "if not is_alone:", "if False:"),
    (Delivery, "take_done", "if entry.unheard or entry.apart or entry.retry:", "if entry.retry:"),
    (Delivery, "take_done", "if entry.done:", "if not entry.unheard:"),
    (Delivery, "_keep", "return", "pass"),
    (Delivery, "_keep", "entry.refused.sort(key=lambda record: (record.position, record.part))", "pass"),
    (Delivery, "_keep", "entry.letters = entry.refused", "pass"),
    (Outgoing, "sort_failed", "if refused or self.alone:", "if refused:"),
    (Outgoing, "sort_failed", "if refused or self.alone:", "if self.alone:"),
    (Outgoing, "sort_failed", "records + self.alone", "self.alone + records"),
    (Outgoing, "sort_failed", "for value, _ in records] + self.waiting", "for value, _ in records]"),
    (Outgoing, "_refuse_record", "times=-1", "times=0"),
    (Outgoing, "letter_not_taken", "self.letters.append(letter)", "pass"),
    (Outgoing, "letter_not_taken", "self.letters.sort(key=lambda each: (each.position, each.part))", "pass"),
    (LastingProducer, "renew", "and not len(self.client)", ""),
    (LastingProducer, "_end", "and not error.args[0].fatal()", ""),
    (Rejected, "_append", "os.fsync(descriptor)", "pass"),
    (rejected, "_sync", "os.fsync(folder)", "pass"),
    (Rejected, "_append", "os.ftruncate(descriptor, end)", "pass"),
    (Rejected, "_append", "self._whole.discard(file.name)", "pass"),
)
def test_a_guard_taken_out_is_noticed(guard: Guard) -> None:
    assert guard.is_noticed(delivery_is_done_when_all_is_there, count=300)

"""The tailer's core among writers that write in pieces, rotators of every kind, and crashes between any two effects.

Held under every seed (audit.md, One row per line): every line that stays readable is delivered; an identity never has two
contents; positions advance over delivered chunks only, without holes, and each chunk is counted once; a claim of completeness
is true.
"""

import random
from unittest import mock

from headrace.agents.events import encoder
from headrace.agents.flight import Completeness, Flight
from headrace.agents.tail import archives, beginning, reading, strangers
from headrace.agents.tail.archives import Archives
from headrace.agents.tail.beginning import Beginnings, Search
from headrace.agents.tail.letting_go import LettingGo
from headrace.agents.tail.meeting import Meeting
from headrace.agents.tail.stream import Stream
from headrace.agents.tail.streams import Streams
from headrace.agents.tail.tailer import Tailer
from tests.sim.harness import Guard, each_guard, run_seeds
from tests.sim.tailer.simulation import Simulation, fingerprints_of
from tests.sim.tailer.writers import CONTAINERS, PIPELINES, TRACES

_UNPROVED = "sent and stream.row.detached and not stream.hold(handle, b'', b'')"


def tailer_delivers_every_line(
    rng: random.Random,
    pipelines: tuple[str, ...] = PIPELINES,
    *,
    calms: bool = False,
    starts: tuple[str, ...] = ("beginning",),
) -> None:
    with fingerprints_of(rng.choice((32, 1024)), rng.choice((24, 256))):
        Simulation(rng, pipelines, calms=calms, starts=starts).live(150)


def test_every_readable_line_is_delivered_once_by_identity() -> None:
    run_seeds(tailer_delivers_every_line, count=50)


def tailer_proves_what_was_at_rest(rng: random.Random) -> None:
    with mock.patch.object(strangers, "MOST_OPENED", 2):
        tailer_delivers_every_line(rng, calms=True)


def test_files_that_come_to_rest_and_are_written_anew_are_delivered_once_by_identity() -> None:
    run_seeds(tailer_proves_what_was_at_rest, count=40)


@each_guard(
    (reading, "_wake", "(yield from verify(", "stream.hold(stream.handle, b'', b'') or not (yield from verify("),
    (Stream, "is_still", "self.seen is not seen", "self.seen is None"),
    (Tailer, "_follow", "stream.idle and not stream.tail_bytes", "not stream.tail_bytes"),
    (Tailer, "_follow", "and not stream.tail_bytes", ""),
    (LettingGo, "_may_let_go", "at_end and stream.listed", "stream.listed"),
)
def test_a_guard_of_files_at_rest_taken_out_is_noticed(guard: Guard) -> None:
    assert guard.is_noticed(tailer_proves_what_was_at_rest, count=300)


def tailer_begins_where_it_is_told(rng: random.Random) -> None:
    tailer_delivers_every_line(rng, starts=("beginning", "end", "time"))


def test_what_is_there_when_an_input_begins_is_shipped_from_where_it_says_and_the_rest_from_the_beginning() -> None:
    run_seeds(tailer_begins_where_it_is_told, count=45)


@each_guard(
    (Beginnings, "decide", "yield Save(tuple(rows.values())", "yield Save(()"),
    (Beginnings, "_row", "if packed and earliest_ms is not None and written_ms >= earliest_ms:", "if packed:"),
    (beginning, "end_of_lines", "int(start + newline + 1)", "size"),
    (Search, "begin_of", "found[1] < earliest_us", "True"),
    (Search, "begin_of", "end if self.timed else 0", "end"),
    (Meeting, "own", "self._streams.place(stream)", "pass"),
    (Streams, "continue_in", "self.place(stream)", "pass"),
    (archives, "_mark", "stream.row.begin", "0"),
)
def test_a_guard_of_beginnings_taken_out_is_noticed(guard: Guard) -> None:
    assert guard.is_noticed(tailer_begins_where_it_is_told, count=150)


def tailer_joins_what_containers_write(rng: random.Random) -> None:
    tailer_delivers_every_line(rng, (CONTAINERS,))


def test_two_streams_of_a_container_in_one_file_are_delivered_once_by_identity() -> None:
    run_seeds(tailer_joins_what_containers_write, count=40)


@each_guard(
    (Stream, "shipped", "what.shipped_to, what.stderr_to", "what.shipped_to, self.read_to"),
    (Stream, "delivered", "stderr_to=done[-1].shipped.stderr_to", "stderr_to=after.position"),
    (encoder._Encoding, "_container_events", "event.stream != stream", "False"),
    (reading, "_next_events", "rule.whole_bytes(lines, 1 if grown else limits.chunk_lines)", "len(lines)"),
)
def test_a_guard_of_the_two_streams_taken_out_is_noticed(guard: Guard) -> None:
    assert guard.is_noticed(tailer_joins_what_containers_write, count=100)


def tailer_keeps_events_whole(rng: random.Random) -> None:
    tailer_delivers_every_line(rng, (TRACES,))


def test_events_of_several_lines_are_whole_wherever_their_lines_were_there_in_time() -> None:
    run_seeds(tailer_keeps_events_whole, count=40)


@each_guard(
    (reading, "_next_events", "if _is_quiet(stream, now):", "if True:"),
    (reading, "_next_events", "if grown:", "if True:"),
    (reading, "_next_events", "rule.whole_bytes(lines, 1 if grown else limits.chunk_lines)", "len(lines)"),
)
def test_a_guard_of_whole_events_taken_out_is_noticed(guard: Guard) -> None:
    assert guard.is_noticed(tailer_keeps_events_whole, count=300)


@each_guard(
    (reading, "_next_chunk", "if data[: len(guard)] != guard:", "if False:"),
    (reading, "_repeat", "digest(data) != chunk.content", "False"),
    (reading, "_planned", "shipped_to=stream.shipped_to", "shipped_to=stream.read_to"),
    (Stream, "delivered", "shipped_to=done[-1].shipped.shipped_to", "shipped_to=after.position"),
    (reading, "_repeat", "Planned(chunk, data", "Planned(replace(chunk, pipeline=stream.input.pipeline), data"),
    (Flight, "delivered", "while self.chunks and self.chunks[0].delivered:", "while self.chunks:"),
    (reading, "_next_chunk", "if stream.within_line:", "if False:"),
    (Completeness, "settle", "while self._marks and self._marks[0].position <= position:", "while self._marks:"),
    (Tailer, "look", "if not waiting:", "if True:"),
    (Archives, "_decide", "may_go_on and (yield from hold_if_proved(stream, handle))", _UNPROVED),
    (Archives, "_begin", "opened.trailer == (stream.crc, stream.read_to % _SIZE_MODULUS)", "opened.trailer"),
    (LettingGo, "absent", "and stream.idle and stream.ended", ""),
    (LettingGo, "leave", "stream.stat = None", "pass"),
    (Meeting, "stranger", "rotated_out = not seen.matched and", "rotated_out = False and"),
)
def test_a_guard_taken_out_is_noticed(guard: Guard) -> None:
    assert guard.is_noticed(tailer_delivers_every_line, count=300)

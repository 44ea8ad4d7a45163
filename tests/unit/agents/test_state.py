"""The agent's durable state: what is written together comes back together, and what must not be opened is not."""

import fcntl
import sqlite3
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from headrace.agents.effects import Advance, Forget, Keep, Lost, Save
from headrace.agents.events.encoded import Tally
from headrace.agents.events.pipeline import AUTO, definition
from headrace.agents.operate.state_file import is_in_use
from headrace.agents.rows import ChunkRow, Dropped, LineHead, StreamRow
from headrace.agents.state import AgentState, streams_of
from headrace.agents.state_generations import FILE_NAME
from headrace.agents.state_tables import VERSION
from headrace.agents.windows import ChunkResult, WindowRow
from headrace.audit import Total
from headrace.errors import CorruptError, UsageError, VersionError
from tests.unit.agents.operate.test_validate import not_root, open_folder

ROW = StreamRow("s-1", "logs", 3, "h", "a", "/a.log", "/a.log", 7, 99, 5, size_seen=40, complete_ms=1_000)
CHUNK = ChunkRow("s-1", 0, 20, 0, 0, 1_795_424_400_123, AUTO, 64, "c0ffee", LineHead("utf-8", None, 2), more=True)

VERSION_1, VERSION_2, VERSION_3 = (Path(__file__).parent / f"state_of_version_{version}.sql" for version in (1, 2, 3))


def opened(directory: Path, **changes: str) -> AgentState:
    return AgentState(directory, **{"machine_id": "m", "host": "h", "new_agent_id": "agent-1", **changes})


def result(**windows: Tally) -> ChunkResult:
    return ChunkResult("logs", 3, 17, {int(start[1:]): tally for start, tally in windows.items()}, {600_000: 1}, 2)


def test_rows_come_back_as_they_were_saved(tmp_path: Path) -> None:
    state = opened(tmp_path)
    row = replace(ROW, line=LineHead("iso-8859-1", 5, 1), tail_open=True)
    state.apply([Save((row,), (CHUNK,))])
    state.close()
    again = opened(tmp_path, new_agent_id="agent-2")
    assert again.agent_id == "agent-1"
    assert list(again.streams()) == [row]
    assert again.chunks() == [CHUNK]


def test_who_only_looks_whether_an_agent_runs_keeps_none_from_starting(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        assert not is_in_use(tmp_path)
        release = threading.Timer(0.05, fcntl.flock, (looking, fcntl.LOCK_UN))
        release.start()
        state = opened(tmp_path)
        release.join()
        assert is_in_use(tmp_path)
        state.close()
    assert not is_in_use(tmp_path)


def test_a_state_of_another_user_is_refused_and_said_to_be_his() -> None:
    with open_folder() as folder:
        (folder / "lock").touch(0)  # to whoever is not root as one of root's is
        with not_root(), pytest.raises(UsageError, match=r"lock: .*; give all of it to the agent's user \(chown -R\)"):
            opened(folder)


def test_a_file_name_that_is_not_utf8_is_kept_and_found(tmp_path: Path) -> None:
    state = opened(tmp_path)
    row = replace(ROW, service="bad\udcff", source="/bad\udcff.log", path="/bad\udcff.log")
    state.apply([Save((row,))])
    assert list(state.streams()) == [row]


def test_an_advance_moves_position_chunks_and_counts_together(tmp_path: Path) -> None:
    state = opened(tmp_path)
    state.apply([Save((ROW,), (CHUNK,))])
    after = replace(ROW, position=20)
    top = (1 << 64) - 1
    state.apply([Advance(after, (CHUNK,), (result(w0=Tally(2, 15, top)),))])
    state.apply([Advance(after, (), (result(w0=Tally(1, 5, 3)),))])
    assert (list(state.streams()), state.chunks()) == ([after], [])
    assert state.unsaid_windows(10) == [
        WindowRow("logs", 0, 3, 20, 2, 0, ((3, 17),)),
        WindowRow("logs", 600_000, 0, 0, 0, 2),
    ]
    assert state.ends() == {"logs": {3: 17}}


def test_a_window_that_changed_while_it_was_said_stays_unsaid(tmp_path: Path) -> None:
    state = opened(tmp_path)
    state.apply([Save((ROW,)), Advance(ROW, (), (result(w0=Tally(1, 5, 3)),))])
    said = state.unsaid_windows(10)
    state.apply([Advance(ROW, (), (ChunkResult("logs", 3, 18, {0: Tally(1, 5, 3)}, {}, 1),))])
    state.said(said)
    assert [window.window_start_ms for window in state.unsaid_windows(10)] == [0]
    state.said(state.unsaid_windows(10))
    assert state.unsaid_windows(10) == []


def test_lost_bytes_count_as_dropped_in_every_window_they_may_belong_to(tmp_path: Path) -> None:
    state = opened(tmp_path)
    state.apply([Lost(ROW, 12, 1_000, 1_250_000)])
    assert [(w.window_start_ms, w.dropped) for w in state.unsaid_windows(10)] == [
        (start, (("destroyed", 1),)) for start in (0, 600_000, 1_200_000)
    ]


def test_a_pipeline_is_kept_as_long_as_a_chunk_names_it(tmp_path: Path) -> None:
    state = opened(tmp_path)
    other = replace(CHUNK, start=20, end=30, since=20, pipeline=definition(parse={"type": "json"}))
    third = replace(other, start=30, end=40, since=30)
    state.apply([Save((ROW,), (CHUNK, other, third))])
    assert kept_definitions(tmp_path) == sorted([AUTO, other.pipeline])
    state.apply([Advance(replace(ROW, position=30), (CHUNK, other), (result(), result()))])
    assert kept_definitions(tmp_path) == [other.pipeline]
    state.apply([Save((ROW,), (CHUNK,)), Advance(replace(ROW, position=40), (third,), (result(),))])
    assert kept_definitions(tmp_path) == [AUTO]
    state.apply([Forget("s-1")])
    assert kept_definitions(tmp_path) == []


def kept_definitions(directory: Path) -> list[str]:
    with sqlite3.connect(directory / FILE_NAME) as db:
        found = sorted(row[0] for row in db.execute("SELECT definition FROM pipelines"))
    db.close()
    return found


def test_answers_of_functions_are_kept_as_long_as_their_chunk(tmp_path: Path) -> None:
    state = opened(tmp_path)
    answers = (False, "an error", ("message", {"a": "\ud800"}))
    state.apply([Save((ROW,), (CHUNK,))])
    assert state.answers("s-1", 0) is None
    state.apply([Keep("s-1", 0, answers)])
    state.apply([Advance(ROW, (), ())])
    state.close()
    state = opened(tmp_path)
    assert state.answers("s-1", 0) == [False, "an error", ["message", {"a": "\ud800"}]]
    state.apply([Advance(replace(ROW, position=20), (CHUNK,), (result(),))])
    assert state.answers("s-1", 0) is None


def test_nobody_else_may_read_the_state(tmp_path: Path) -> None:
    state = opened(tmp_path)
    state.apply([Save((ROW,), (CHUNK,))])
    assert {file.stat().st_mode & 0o077 for file in tmp_path.glob("agent.db*")} == {0}


def test_what_version_1_wrote_is_read(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / FILE_NAME) as db:
        db.executescript(VERSION_1.read_text())
    db.close()
    state = opened(tmp_path)
    assert state.agent_id == "agent-1"
    assert list(state.streams()) == [replace(ROW, line=LineHead("iso-8859-1", 5, 1), tail_open=True)]
    assert [(chunk.shipped_to, chunk.pipeline) for chunk in state.chunks()] == [
        (0, '{"parse":{"type":"auto"},"version":1}'),
        (20, '{"parse":{"type":"json"},"version":1}'),
    ]
    assert replace(state.chunks()[0], pipeline=AUTO) == CHUNK
    assert state.unsaid_windows(10) == [
        WindowRow("logs", 0, 2, 15, 7, 0, ((3, 17),)),
        WindowRow("logs", 600_000, rejected=1),
    ]
    assert (state.ends(), state.schema_id("http://r", "logs-value", "{}")) == ({"logs": {3: 17}}, 7)
    state.close()
    again = opened(tmp_path)
    assert len(again.chunks()) == 2


def test_what_version_2_wrote_is_read(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / FILE_NAME) as db:
        db.executescript(VERSION_2.read_text())
    db.close()
    state = opened(tmp_path)
    gone = replace(
        ROW, stream_id="s-2", source="/var/b.log", path="/var/b.log", inode=100, position=30, crc=123456, guard="00ff",
        head_bytes=30, head="ff00", detached=True, shipped_to=25, stderr_to=20, begin=0,
    )  # fmt: skip
    assert list(state.streams()) == [replace(ROW, line=LineHead("iso-8859-1", 5, 1), tail_open=True), gone]
    assert (state.chunks(), state.answers("s-1", 0)) == ([CHUNK], [False, "an error"])
    assert state.begun() == set()
    state.apply([Save((replace(gone, begin=7),), inputs=(("logs", "tail-logs"),))])
    state.close()
    again = opened(tmp_path)
    assert (list(again.streams())[1].begin, again.begun()) == (7, {("logs", "tail-logs")})
    again.close()
    assert opened(tmp_path, host="another").begun() == set()


def test_what_version_3_wrote_is_read_and_its_windows_are_the_totals(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / FILE_NAME) as db:
        db.executescript(VERSION_3.read_text())
    db.close()
    state = opened(tmp_path, new_agent_id="agent-2")
    linked = replace(
        ROW, stream_id="s-9", inode=100, target="/b.log", begin=7, dropped=Dropped(5, 1_790_000_000_000_000_001, "done")
    )
    assert (state.agent_id, list(state.streams()), state.chunks()) == ("agent-1", [ROW, linked], [CHUNK])
    first = WindowRow("logs", 0, 2, 15, (1 << 64) - 1, 0, ((3, 17),))
    second = WindowRow("logs", 600_000, 1, 5, 3, 1, ((3, 17),))
    assert state.unsaid_windows(10) == [first, second]
    assert state.totals() == {"logs": Total(3, 2), "orders": Total(4, 9)}
    state.said([second])
    assert state.unsaid_windows(10) == [first]
    state.apply([Advance(replace(ROW, position=20), (CHUNK,), (result(w0=Tally(1, 5, 3)),))])
    assert state.unsaid_windows(10) == [
        replace(first, count=3, bytes_total=20, content_hash=2),
        replace(second, rejected=2),
    ]
    state.close()
    again = opened(tmp_path)
    assert (again.totals(), again.ends()) == ({"logs": Total(4, 5), "orders": Total(4, 9)}, {"logs": {3: 17}, "orders": {0: 4}})


def test_a_forgotten_stream_is_gone(tmp_path: Path) -> None:
    state = opened(tmp_path)
    state.apply([Save((ROW,), (CHUNK,)), Forget("s-1")])
    assert (list(state.streams()), state.chunks()) == ([], [])


@pytest.mark.parametrize("changed", [{"machine_id": "m2"}, {"host": "h2"}])
def test_a_state_of_another_host_begins_anew(tmp_path: Path, changed: dict[str, str]) -> None:
    state = opened(tmp_path)
    state.apply([Save((ROW,), (CHUNK,))])
    state.close()
    other = opened(tmp_path, new_agent_id="agent-2", **changed)
    assert (other.agent_id, list(other.streams()), other.chunks()) == ("agent-2", [], [])


def test_a_second_agent_is_refused(tmp_path: Path) -> None:
    first = opened(tmp_path)
    with pytest.raises(UsageError, match="another agent uses it"):
        opened(tmp_path)
    first.close()
    opened(tmp_path).close()


def test_what_a_dropped_file_was_is_kept(tmp_path: Path) -> None:
    state = opened(tmp_path)
    dropped = replace(ROW, stream_id="s-9", dropped=Dropped(5, 1_790_000_000_000_000_001, "done"))
    state.apply([Save((ROW, dropped))])
    assert {row.stream_id: row.dropped for row in state.streams()} == {"s-1": None, "s-9": dropped.dropped}
    state.close()


def test_a_newer_state_is_refused(tmp_path: Path) -> None:
    opened(tmp_path).close()
    with sqlite3.connect(tmp_path / FILE_NAME) as db:
        db.execute(f"PRAGMA user_version={VERSION + 1}")
    db.close()
    with pytest.raises(VersionError, match="upgrade"):
        opened(tmp_path)


def test_a_damaged_state_is_named(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"no database" * 1000)
    with pytest.raises(CorruptError, match=r"agent\.db"):
        opened(tmp_path)


def test_streams_of_tells_which_stream_a_file_is(tmp_path: Path) -> None:
    assert streams_of(tmp_path, [ROW.key]) == {}
    state = opened(tmp_path)
    old = replace(ROW, stream_id="s-0", detached=True, complete_ms=9_000)
    rotated_away = replace(ROW, stream_id="s-2", inode=100, complete_ms=9_000)
    state.apply([Save((ROW, old, rotated_away))])
    state.close()
    assert streams_of(tmp_path, [ROW.key, (7, 101)]) == {ROW.key: "s-1"}


def test_schema_ids_are_kept(tmp_path: Path) -> None:
    state = opened(tmp_path)
    assert state.schema_id("http://r", "logs-value", "{}") is None
    state.keep_schema_id("http://r", "logs-value", "{}", 7)
    assert state.schema_id("http://r", "logs-value", "{}") == 7
    assert state.schema_id("http://other", "logs-value", "{}") is None

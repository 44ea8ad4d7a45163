"""Single histories on simulated files, step by step: cases that a seed rarely meets, and faults of the twenty."""

from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest

from headrace.agents.effects import Input
from headrace.agents.run import Run
from headrace.agents.start import Start
from headrace.agents.tail import archives, meeting, proof, strangers
from headrace.agents.tail.archives import Archives
from headrace.agents.tail.asleep import Sleeper
from headrace.agents.tail.letting_go import LettingGo
from headrace.agents.tail.reading import Limits
from headrace.agents.tail.streams import Streams
from headrace.agents.tail.tailer import Tailer
from tests.sim.agent_desk import AgentDesk
from tests.sim.harness import mutated
from tests.sim.tailer.world import Files, Inode

LOGS = Input("logs")
ONE_LINE = Limits(chunk_lines=1, stream_cost_bytes=1)  # is on its way at most


class Desk(AgentDesk):
    """One agent that tails."""

    core: Tailer

    def __init__(self, how: Input = LOGS, *, births: bool = True, limits: Limits | None = None) -> None:
        self.how = how
        super().__init__(Files(births=births), limits)

    def made(self, run: Run) -> Tailer:
        return Tailer(self.disk.streams.values(), self.disk.chunks.values(), run, max_open=9)

    def begin(self) -> None:
        """The input begins: where its files do is decided."""
        listing = self.files.listing(self.now(), self.how, {("logs", name) for name in self.files.names}, all_names=True)
        self.carry_out(self.core.beginnings.decide(listing, {("logs", "")}))

    def turn(self) -> None:
        """A listing and a round of reading, some time later."""
        self.files.now_ms += 100
        listing = self.files.listing(self.now(), self.how, self.core.known_paths, all_names=True)
        self.carry_out(self.core.look(listing))
        self.carry_out(self.core.read(self.now()))

    def acknowledge(self, index: int) -> None:
        self.carry_out(self.core.delivered(self.sent[index].stream.stream_id, self.sent[index].chunk.start, None))


def what_a_truncated_file_had_on_its_way_holds_back_the_claim() -> None:
    desk = Desk()
    inode = desk.files.create("a.log", reuse=False)
    desk.files.append(inode, b"one\n")
    desk.turn()
    desk.files.truncate(inode)
    desk.files.append(inode, b"another\n")
    for _ in range(3):
        desk.turn()
    desk.acknowledge(1)
    for _ in range(3):
        desk.turn()
    assert desk.core.complete_at() is None
    desk.acknowledge(0)
    for _ in range(3):
        desk.turn()
    assert desk.core.complete_at() is not None


def test_a_claim_waits_for_what_a_truncated_file_had_on_its_way() -> None:
    what_a_truncated_file_had_on_its_way_holds_back_the_claim()


def test_without_its_guard_a_claim_does_not_wait() -> None:
    guard = "and not stream.flight and (stream.loss_settled or not stream.destroyed_bytes)"
    with mutated(Tailer, "complete_at", guard, ""), pytest.raises(AssertionError):
        what_a_truncated_file_had_on_its_way_holds_back_the_claim()


@pytest.mark.parametrize("births", [True, False])
def test_fault_09_a_new_file_with_the_inode_of_a_removed_one_is_read_from_its_first_byte(births: bool) -> None:
    desk = Desk(births=births)
    desk.files.append(desk.files.create("a.log", reuse=False), b"one\n" * 9)
    desk.turn()
    desk.acknowledge(0)
    desk.start()  # nobody holds the file open
    desk.files.unlink("a.log")
    new = desk.files.create("a.log", reuse=True)
    assert new.number == desk.sent[0].stream.inode
    desk.files.append(new, b"another\n" * 9)  # longer than what was acknowledged
    desk.turn()
    assert [(send.chunk.start, send.data) for send in desk.sent[1:]] == [(0, b"another\n" * 9)]
    assert desk.sent[1].stream.stream_id != desk.sent[0].stream.stream_id


@pytest.mark.parametrize(
    ("how", "reason"), [(Input("logs", held_ms=250), "held_age"), (Input("logs", held_bytes=15), "held_bytes")]
)
def test_fault_11_of_deleted_files_no_more_is_held_than_allowed_and_the_rest_is_counted(how: Input, reason: str) -> None:
    desk = Desk(how, limits=ONE_LINE)
    desk.files.append(desk.files.create("a.log", reuse=False), b"one\ntwo\nthree and more\n")
    for _ in range(3):
        desk.turn()
    desk.files.unlink("a.log")
    for _ in range(5):
        desk.turn()
    assert [send.data for send in desk.sent] == [b"one\n"]
    assert desk.lost == [(len(b"two\nthree and more\n"), reason)]
    assert not desk.files.handles
    desk.acknowledge(0)
    desk.turn()
    assert desk.core.complete_at() is not None
    desk.start()
    for _ in range(3):
        desk.turn()
    assert len(desk.lost) == 1


def held_files(how: Input, *names: str) -> Desk:
    """A desk that holds files of three lines each, deleted in this order, of which one line is on its way."""
    desk = Desk(how, limits=ONE_LINE)
    for name in names:
        desk.files.append(desk.files.create(name, reuse=False), b"%s\ntwo\nthree and more\n" % name[:1].encode())
    for _ in range(3):
        desk.turn()
    for name in names:
        desk.files.unlink(name)
        desk.turn()
    return desk


def test_fault_11_of_several_files_that_are_held_those_go_that_are_held_for_longest() -> None:
    desk = held_files(Input("logs", held_bytes=2 * 21), "a.log", "b.log", "c.log")
    size = len(b"a\ntwo\nthree and more\n")
    assert size == 21
    assert desk.lost == [(size - len(b"a\n"), "held_bytes")]
    assert len(desk.files.handles) == 2
    kept = {bytes(inode.data)[:1] for inode in desk.files.handles.values()}
    assert kept == {b"b", b"c"}


def test_fault_11_files_that_only_have_another_name_are_not_counted_as_held() -> None:
    desk = Desk(Input("logs", held_bytes=1), limits=ONE_LINE)
    desk.files.append(desk.files.create("a.log", reuse=False), b"one\ntwo\n")
    desk.turn()
    desk.files.rename("a.log", "elsewhere")
    for _ in range(5):
        desk.turn()
    desk.acknowledge(0)
    desk.turn()
    assert [send.data for send in desk.sent] == [b"one\n", b"two\n"]
    assert desk.lost == []


def test_fault_11_of_a_held_file_that_is_read_to_its_end_nothing_is_lost() -> None:
    desk = Desk(Input("logs", held_bytes=1))
    desk.files.append(desk.files.create("a.log", reuse=False), b"one\ntwo\n")
    desk.turn()
    desk.files.unlink("a.log")
    for _ in range(5):
        desk.turn()
    assert [send.data for send in desk.sent] == [b"one\ntwo\n"]
    assert desk.lost == []


def test_fault_11_without_a_bound_a_deleted_file_is_held_until_all_of_it_is_acknowledged() -> None:
    desk = Desk(limits=ONE_LINE)
    desk.files.append(desk.files.create("a.log", reuse=False), b"one\ntwo\n")
    desk.turn()
    desk.files.unlink("a.log")
    desk.files.now_ms += 3_600_000
    desk.turn()
    desk.acknowledge(0)
    desk.turn()
    assert [send.data for send in desk.sent] == [b"one\n", b"two\n"]
    assert desk.lost == []


def packed_while_no_agent_ran(*, reuse: bool) -> Desk:
    """Of a log's two lines one is acknowledged; then it was rotated and packed, and another has its name (and its inode)."""
    desk = Desk(limits=ONE_LINE)
    desk.files.append(desk.files.create("a.log", reuse=False), b"one\ntwo\n")
    desk.turn()
    desk.acknowledge(0)
    desk.files.close_all()
    desk.files.rename("a.log", "a.log.1")
    desk.files.end_packing("a.log.1", desk.files.begin_packing("a.log.1", reuse=False))
    new = desk.files.create("a.log", reuse=reuse)
    desk.files.append(new, b"new\n")
    assert (new.number == desk.sent[0].stream.inode) is reuse
    desk.files.now_ms += 20_000
    return desk


def a_finite_run_tells_no_loss_before_it_has_looked_into_the_archive() -> None:
    desk = packed_while_no_agent_ran(reuse=True)
    desk.once = True
    desk.start()
    for _ in range(4):
        desk.turn()
    assert sorted(send.data for send in desk.sent[1:]) == [b"new\n", b"two\n"]
    assert desk.lost == []


def an_outage_at_the_start_tells_no_loss_of_what_an_archive_holds() -> None:
    desk = packed_while_no_agent_ran(reuse=False)
    desk.ready = False
    desk.start()
    desk.turn()
    desk.files.now_ms += 3_600_000
    desk.turn()
    assert desk.core.complete_at() is None
    desk.ready = True
    for _ in range(4):
        desk.turn()
    assert sorted(send.data for send in desk.sent[1:]) == [b"new\n", b"two\n"]
    assert desk.lost == []


def what_no_archive_holds_is_lost_when_all_have_been_looked_into() -> None:
    desk = packed_while_no_agent_ran(reuse=True)
    desk.files.names["a.log.1.gz"].data[:] = b"other\nlines\n"
    desk.once = True
    desk.start()
    for _ in range(6):
        desk.turn()
    assert desk.lost == [(len(b"two\n"), "destroyed")]


@pytest.mark.parametrize(
    "history",
    [
        a_finite_run_tells_no_loss_before_it_has_looked_into_the_archive,
        an_outage_at_the_start_tells_no_loss_of_what_an_archive_holds,
    ],
)
def test_fault_06_no_bytes_count_as_lost_while_a_file_waits_that_may_hold_them(history: Callable[[], None]) -> None:
    history()
    with mutated(Streams, "settle", "and stream.row.topic not in self._undecided", ""), pytest.raises(AssertionError):
        history()


def test_fault_06_what_no_archive_holds_is_lost_when_all_have_been_looked_into() -> None:
    what_no_archive_holds_is_lost_when_all_have_been_looked_into()


def an_archive_waits_for_the_one_that_has_the_inode_of_its_log(name: str = "a.log.1", other: str = "a.log.2") -> None:
    desk = Desk()
    desk.files.append(desk.files.create("a.log", reuse=False), b"one\n")
    desk.turn()
    desk.acknowledge(0)
    log = desk.files.names["a.log"]
    desk.files.append(log, b"two\n")
    desk.files.close_all()
    desk.files.rename("a.log", name)
    desk.files.end_packing(name, desk.files.begin_packing(name, reuse=False))
    desk.files.now_ms += 20_000
    desk.files.append(desk.files.create(other, reuse=False), b"three\n")
    packing = desk.files.begin_packing(other, reuse=True)
    assert packing.number == log.number
    desk.start()
    for _ in range(4):
        desk.turn()
    desk.files.end_packing(other, packing)
    for _ in range(6):
        desk.files.now_ms += 10_000
        desk.turn()
    assert sorted(send.data for send in desk.sent) == [b"one\n", b"three\n", b"two\n"]


def test_fault_06_with_fault_09_an_archive_waits_for_the_one_that_has_the_inode_of_its_log() -> None:
    an_archive_waits_for_the_one_that_has_the_inode_of_its_log()
    an_archive_waits_for_the_one_that_has_the_inode_of_its_log("a.log.2", "a.log.1")
    an_archive_waits_for_the_one_that_has_the_inode_of_its_log("old/1", "old/2")
    an_archive_waits_for_the_one_that_has_the_inode_of_its_log("old/2", "old/1")
    with mutated(Archives, "_may_have_no_file", " or self._streams.waits(stream, key)", ""), pytest.raises(AssertionError):
        an_archive_waits_for_the_one_that_has_the_inode_of_its_log("old/1", "old/2")
    with mock.patch.object(strangers, "MOST_OPENED", 1):
        an_archive_waits_for_the_one_that_has_the_inode_of_its_log("old/1", "old/2")
        with mutated(Archives, "_begin", " or self._streams.any_unmet(key[0])", ""), pytest.raises(AssertionError):
            an_archive_waits_for_the_one_that_has_the_inode_of_its_log("old/1", "old/2")
    guard = "self._streams.waits(each, key) and"
    with mutated(Archives, "_looked_through", guard, "False and"), pytest.raises(AssertionError):
        an_archive_waits_for_the_one_that_has_the_inode_of_its_log()


def an_archive_in_another_folder_of_a_log_that_is_held_is_no_new_one() -> None:
    desk = Desk()
    desk.files.append(desk.files.create("a.log", reuse=False), b"one\n")
    desk.turn()
    desk.files.rename("a.log", "old/2026-11-27")
    desk.files.end_packing("old/2026-11-27", desk.files.begin_packing("old/2026-11-27", reuse=False))
    desk.files.now_ms += 20_000
    for _ in range(4):
        desk.turn()
    desk.acknowledge(0)
    desk.files.now_ms += 400_000
    for _ in range(4):
        desk.turn()
    assert [send.data for send in desk.sent] == [b"one\n"]
    assert desk.core.complete_at() is not None


def test_fault_06_an_archive_in_another_folder_of_a_log_that_is_held_is_no_new_one() -> None:
    an_archive_in_another_folder_of_a_log_that_is_held_is_no_new_one()
    with mutated(archives, "_has_no_name", " or not stream.listed", ""), pytest.raises(AssertionError):
        an_archive_in_another_folder_of_a_log_that_is_held_is_no_new_one()


def a_log_whose_file_system_was_away(*, births: bool, restarted: bool) -> Desk:
    desk = Desk(births=births)
    log = desk.files.create("a.log", reuse=False)
    desk.files.append(log, b"one\ntwo\n")
    desk.turn()
    desk.acknowledge(0)
    del desk.files.names["a.log"]  # it is not removed
    if restarted:
        desk.start()
    for _ in range(3):
        desk.files.now_ms += 400_000
        desk.turn()
    assert not desk.files.handles
    desk.files.append(log, b"three\n")
    desk.files.names["a.log"] = log
    for _ in range(3):
        desk.turn()
    return desk


@pytest.mark.parametrize("restarted", [True, False])
def test_fault_19_a_log_goes_on_when_its_file_system_is_back(restarted: bool) -> None:
    desk = a_log_whose_file_system_was_away(births=True, restarted=restarted)
    assert [send.data for send in desk.sent] == [b"one\ntwo\n", b"three\n"]
    assert desk.sent[1].stream.stream_id == desk.sent[0].stream.stream_id
    assert desk.lost == []


@pytest.mark.parametrize("restarted", [True, False])
def test_fault_19_where_no_birth_tells_that_it_is_the_same_file_it_is_shipped_anew(restarted: bool) -> None:
    desk = a_log_whose_file_system_was_away(births=False, restarted=restarted)
    assert desk.sent[1].data == b"one\ntwo\nthree\n"
    assert desk.sent[1].stream.stream_id != desk.sent[0].stream.stream_id


AT_END = Input("logs", start=Start(end=True))


def a_log_begun_at_its_end() -> tuple[Desk, Inode]:
    desk = Desk(AT_END)
    inode = desk.files.create("a.log", reuse=False)
    desk.files.append(inode, b"%4096d\nold\n" % 1)
    desk.begin()
    desk.start()
    return desk, inode


def a_copy_of_a_log_begun_at_its_end_goes_on_behind_it() -> None:
    desk, inode = a_log_begun_at_its_end()
    desk.files.append(inode, b"new\n")
    desk.files.copy("a.log", "a.log.1", reuse=False)
    desk.files.now_ms += 20_000
    desk.files.truncate(inode)
    desk.files.append(inode, b"next\n")
    for _ in range(3):
        desk.turn()
    assert sorted(send.data for send in desk.sent) == [b"new\n", b"next\n"]


def a_file_that_only_begins_as_a_log_begun_at_its_end_is_read_from_its_beginning() -> None:
    desk, inode = a_log_begun_at_its_end()
    other = desk.files.create("a.log.1", reuse=False)
    desk.files.append(other, b"%4096d\nnot\n" % 1)
    desk.files.now_ms += 20_000
    desk.files.truncate(inode)
    for _ in range(3):
        desk.turn()
    assert [send.data for send in desk.sent] == [b"%4096d\nnot\n" % 1]


def a_file_in_the_place_of_an_archive_that_was_passed_over_is_read(births: bool = True) -> None:
    desk = Desk(AT_END, births=births)
    desk.files.append(desk.files.create("a.log.1", reuse=False), b"old\n")
    desk.files.end_packing("a.log.1", desk.files.begin_packing("a.log.1", reuse=False))
    desk.begin()
    for _ in range(3):
        desk.turn()
    assert not desk.sent
    assert desk.core.complete_at() is not None
    desk.start()
    number = desk.files.names["a.log.1.gz"].number
    desk.files.unlink("a.log.1.gz")
    desk.files.append(desk.files.create("a.log", reuse=True), b"new\n")
    assert desk.files.names["a.log"].number == number
    for _ in range(3):
        desk.turn()
    assert [send.data for send in desk.sent] == [b"new\n"]


def an_archive_that_was_passed_over_stays_so_though_its_bytes_are_asked_for_later() -> None:
    desk = Desk(AT_END)
    desk.files.append(desk.files.create("a.log.1", reuse=False), b"old\n")
    desk.files.end_packing("a.log.1", desk.files.begin_packing("a.log.1", reuse=False))
    desk.begin()
    desk.how = Input("logs", decompress=False)
    desk.start()
    for _ in range(3):
        desk.turn()
    assert not desk.sent


@pytest.mark.parametrize(
    ("history", "target", "function", "guard", "without"),
    [
        (
            a_copy_of_a_log_begun_at_its_end_goes_on_behind_it,
            proof, "copies", "at, crc = stream.row.begin, 0", "at, crc = 0, 0",
        ),
        (
            a_file_that_only_begins_as_a_log_begun_at_its_end_is_read_from_its_beginning,
            proof, "copies", "digest(guard) != stream.row.guard", "False",
        ),
        (
            a_file_in_the_place_of_an_archive_that_was_passed_over_is_read,
            Archives, "_passed_over", "if own is False:", "if False:",
        ),
        (
            an_archive_that_was_passed_over_stays_so_though_its_bytes_are_asked_for_later,
            Archives, "is_archive", "stream.row.begin == PASSED", "False",
        ),
    ],
)  # fmt: skip
def test_what_is_passed_over_when_an_input_begins_is_known_again(
    history: Callable[[], None], target: Any, function: str, guard: str, without: str
) -> None:
    history()
    copies = mock.patch.object(meeting, "copies", lambda *given: proof.copies(*given))  # imported there by its name
    with mutated(target, function, guard, without), copies, pytest.raises(AssertionError):
        history()


def test_a_file_in_the_place_of_an_archive_that_was_passed_over_is_read_where_no_birth_is_known() -> None:
    a_file_in_the_place_of_an_archive_that_was_passed_over_is_read(births=False)


def test_what_was_rotated_away_just_before_is_passed_over_and_followed_though_no_input_matches_it() -> None:
    desk = Desk(AT_END)
    old, inode = desk.files.create("a.log.1", reuse=False), desk.files.create("a.log", reuse=False)
    desk.files.append(old, b"old\n")
    desk.files.append(inode, b"older\n")
    listed = desk.files.listing

    def only_logs(*args: Any, **keys: Any) -> Any:
        return listed(*args, **{**keys, "all_names": False})

    desk.files.listing = only_logs  # type: ignore[method-assign]
    desk.begin()
    desk.start()
    desk.files.append(old, b"late\n")
    for _ in range(3):
        desk.turn()
    assert [(send.data, send.stream.path) for send in desk.sent] == [(b"late\n", "a.log")]


def at_rest_for_long(desk: Desk, *names: str) -> None:
    """Files of one line each that were shipped, and that nobody has written to since."""
    for name in names:
        desk.files.append(desk.files.create(name, reuse=False), b"one\n")
    for _ in range(20):
        sent = len(desk.sent)
        desk.turn()
        for index in range(sent, len(desk.sent)):
            desk.acknowledge(index)
    desk.files.now_ms += 60_000
    desk.turn()
    assert sorted(send.stream.path for send in desk.sent) == sorted(names)


def what_a_removed_file_gets_after_a_long_rest_is_shipped() -> None:
    desk = Desk()
    at_rest_for_long(desk, "a.log")
    inode = desk.files.names["a.log"]
    desk.files.unlink("a.log")
    desk.turn()
    desk.files.now_ms += 20_000
    desk.turn()
    desk.files.append(inode, b"two\n")
    desk.turn()
    assert [send.data for send in desk.sent] == [b"one\n", b"two\n"]


def test_fault_17_a_file_is_read_by_its_open_handle_also_when_it_is_removed_after_a_long_rest() -> None:
    what_a_removed_file_gets_after_a_long_rest_is_shipped()


def test_without_its_guard_a_removed_file_is_looked_at_no_more() -> None:
    with mutated(LettingGo, "absent", "stream.stir()", "pass"), pytest.raises(AssertionError):
        what_a_removed_file_gets_after_a_long_rest_is_shipped()


def test_fault_17_what_a_closed_file_gets_before_it_is_renamed_is_found_by_its_inode() -> None:
    desk = Desk()
    names = [f"{number}.log" for number in range(30)]
    at_rest_for_long(desk, *names)
    still_open = {inode.number for inode in desk.files.handles.values()}
    assert len(still_open) == 9
    for name in names:
        desk.files.append(desk.files.names[name], b"two\n")
        desk.files.rename(name, f"{name}.1")
        desk.files.append(desk.files.create(name, reuse=False), b"new\n")
    for _ in range(40):
        sent = len(desk.sent)
        desk.turn()
        for index in range(sent, len(desk.sent)):
            desk.acknowledge(index)
    streams = {send.stream.stream_id: b"" for send in desk.sent}
    for send in desk.sent:
        streams[send.stream.stream_id] += send.data
    assert sorted(streams.values()) == sorted([b"one\ntwo\n", b"new\n"] * 30)


def test_fault_17_where_the_system_opens_no_more_files_all_have_their_turn_and_it_is_said_once() -> None:
    desk = Desk()
    desk.files.most_handles = 4
    at_rest_for_long(desk, *(f"{number}.log" for number in range(12)))
    assert len(desk.files.handles) <= 4
    assert len([note for note in desk.notes if "LimitNOFILE" in note]) == 1


def acknowledged_turns(desk: Desk, turns: int) -> None:
    """So many looks and rounds, after each of which all that was sent is acknowledged."""
    for _ in range(turns):
        sent = len(desk.sent)
        desk.turn()
        for index in range(sent, len(desk.sent)):
            desk.acknowledge(index)


def what_many_small_files_take() -> None:
    desk = Desk()
    names = [f"{number:02}.log" for number in range(90)]
    for name in names:
        desk.files.append(desk.files.create(name, reuse=False), b"one\n")
    acknowledged_turns(desk, 2 * len(names) // 9)  # nine are open at most: one look opens them, the next closes them
    assert [send.stream.path for send in desk.sent] == names


def test_fault_17_a_file_is_closed_by_the_look_behind_its_acknowledgement_while_others_wait() -> None:
    what_many_small_files_take()


def test_where_files_had_to_be_quiet_before_they_are_closed_the_others_would_wait() -> None:
    recent = "now.monotonic_ms - stream.changed_ms < 10_000"
    with (
        mutated(LettingGo, "_may_let_go", "stream.changed_ms == now.monotonic_ms", recent),
        pytest.raises(AssertionError),
    ):
        what_many_small_files_take()


def test_fault_17_files_that_wait_to_be_opened_are_told_until_they_are_shipped() -> None:
    desk = Desk()
    for number in range(12):
        desk.files.append(desk.files.create(f"{number:02}.log", reuse=False), b"one\n")
    for _ in range(3):
        desk.turn()
        assert [(seen.path, stream, complete) for seen, stream, complete in desk.core.unopened] == [
            ("09.log", None, None), ("10.log", None, None), ("11.log", None, None),
        ]  # fmt: skip
    for index in range(9):
        desk.acknowledge(index)
    acknowledged_turns(desk, 3)
    assert not list(desk.core.unopened)
    closed = next(each for each in desk.core.streams if each.handle is None)
    for name in desk.files.names:
        desk.files.append(desk.files.names[name], b"two\n")
    acknowledged_turns(desk, 1)
    assert closed in [stream for _, stream, _ in desk.core.unopened]
    acknowledged_turns(desk, 6)
    assert not list(desk.core.unopened)


def test_what_lies_beside_logs_and_is_nobodys_is_not_told_to_wait() -> None:
    desk = Desk()
    names = [f"{number}.log" for number in range(9)]
    for name in names:
        desk.files.append(desk.files.create(name, reuse=False), b"one\n")
    desk.turn()
    desk.files.append(desk.files.create("0.log.1", reuse=False), b"another\n")
    desk.files.now_ms += 100
    listing = desk.files.listing(desk.now(), desk.how, desk.core.known_paths, all_names=False)
    desk.carry_out(desk.core.look(listing))
    assert desk.core.has_more
    assert not list(desk.core.unopened)


def what_was_placed_after_its_row_was_saved_is_placed_again_when_it_wakes() -> None:
    desk = Desk(Input("logs", start=Start("end")))
    desk.files.append(desk.files.create("a.log", reuse=False), b"before\n")
    desk.begin()
    for _ in range(3):
        desk.turn()
    desk.files.now_ms += 60_000
    desk.turn()
    assert [sleeper.stream_id for sleeper in desk.core.asleep] == ["s-0"]
    desk.files.append(desk.files.names["a.log"], b"after\n")
    desk.turn()
    assert [(send.data, send.stream.partition) for send in desk.sent] == [(b"after\n", 0)]


def test_a_stream_that_sleeps_before_anything_of_it_was_sent_wakes_with_its_partition() -> None:
    what_was_placed_after_its_row_was_saved_is_placed_again_when_it_wakes()


def test_without_its_guard_it_would_wake_without_one() -> None:
    with mutated(Streams, "wake", "self.place(stream)", "pass"), pytest.raises(AssertionError):
        what_was_placed_after_its_row_was_saved_is_placed_again_when_it_wakes()


def what_a_start_puts_off_holds_back_the_claim() -> None:
    desk = Desk()
    at_rest_for_long(desk, "a.log", "b.log")
    desk.start()
    for name in ("a.log", "b.log"):
        desk.files.append(desk.files.names[name], b"two\n")
    with mock.patch.object(strangers, "MOST_OPENED", 1):
        acknowledged_turns(desk, 1)
    with mock.patch.object(strangers, "MOST_OPENED", 0):
        acknowledged_turns(desk, 4)
    assert desk.core.complete_at() is None
    desk.turn()
    assert [send.stream.path for send in desk.sent[2:]] == ["a.log", "b.log"]
    assert desk.core.complete_at() is None
    desk.acknowledge(3)
    acknowledged_turns(desk, 3)
    assert desk.core.complete_at() is not None


def test_a_claim_waits_for_files_that_a_start_has_not_looked_into_yet() -> None:
    what_a_start_puts_off_holds_back_the_claim()


@pytest.mark.parametrize(
    ("target", "function", "guard", "without"),
    [
        (Tailer, "_look_at", "return False", "return True"),
        (Sleeper, "wake", "complete if self.seen is not None else None", "complete"),
    ],
)
def test_without_its_guards_it_would_claim_them(target: type, function: str, guard: str, without: str) -> None:
    with mutated(target, function, guard, without), pytest.raises(AssertionError):
        what_a_start_puts_off_holds_back_the_claim()


def test_a_start_and_a_reload_wake_nothing_that_is_as_it_was() -> None:
    desk = Desk()
    at_rest_for_long(desk, "a.log", "b.log")
    assert not list(desk.core.streams)
    desk.files.listed_anew()
    desk.turn()
    assert not list(desk.core.streams)
    desk.start()
    assert not list(desk.core.streams)
    assert desk.core.position_bytes == (8, 8)


def test_where_many_files_have_news_only_the_last_stay_awake() -> None:
    desk = Desk(limits=Limits(settled_streams=2))
    for number in range(5):
        desk.files.append(desk.files.create(f"{number}.log", reuse=False), b"one\n")
        acknowledged_turns(desk, 2)
    acknowledged_turns(desk, 3)
    assert sorted(stream.path for stream in desk.core.streams) == ["3.log", "4.log"]
    assert desk.core.position_bytes == (20, 20)

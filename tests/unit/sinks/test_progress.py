"""What is shown of a loader that runs."""

import io
import logging

import pytest
from rich.console import Console, RenderableType

from headrace.clock import WallMs
from headrace.logs import Above, log_to, log_to_stderr
from headrace.sinks.lag.drawing import bars, line
from headrace.sinks.lag.progress import Progress, TopicProgress, total
from headrace.sinks.lag.standings import Standings
from headrace.sinks.lag.telling import as_fields
from headrace.sinks.table.fold import Fold

NOW_MS = 1_790_000_000_000


def drawn(what: RenderableType, *, height: int = 25) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=110, height=height, force_terminal=True, color_system=None).print(what)
    return out.getvalue().splitlines()


def running(*topics: str, goal: int = 1070, read: int = 320) -> Standings:
    """A run that began at offset 70 of each topic's partition 3."""
    standings = Standings()
    for topic in topics:
        standings.table(topic).begin(3, 70)
        standings.table(topic).took(3, read, records=read - 80)
    standings.goals = {(topic, 3): goal for topic in topics}
    return standings


def test_progress_is_counted_from_where_the_run_began_to_the_end_that_it_found() -> None:
    standings = running("a", "b")
    standings.table("b").landed([(3, 170)], Fold())
    standings.table("b").took(3, 5000)
    topics = Progress(standings).topics()
    assert topics == [TopicProgress("a", 1000, 250, 0), TopicProgress("b", 1000, 1000, 100)]
    assert total(topics) == TopicProgress("all", 2000, 1250, 100)


def test_what_had_landed_before_or_is_not_begun_is_not_counted() -> None:
    standings = running("a", goal=70, read=70)
    standings.goals = {**(standings.goals or {}), ("later", 0): 99}
    assert Progress(standings).topics() == []


def test_speed_is_that_of_the_last_ten_seconds() -> None:
    standings = running("a", read=80)
    progress = Progress(standings)
    table = standings.table("a")
    speeds = []
    for second in range(30):
        table.took(3, 80 + 10 * second, records=9 if second < 15 else 18)
        speeds.append(progress.speed(100.0 + second, left=2000 - 10 * second))
    assert speeds[0].records_per_second == 0
    assert speeds[0].seconds_left is None
    assert speeds[10].records_per_second == 9
    assert speeds[29].records_per_second == 18
    assert speeds[29].seconds_left == pytest.approx((2000 - 290) / 10)
    assert progress.speed(130.0, left=9000).seconds_left is None
    assert progress.speed(131.0, left=8900).seconds_left == 89


def test_programs_are_told_offsets_and_seconds() -> None:
    standings = running("a", "b", read=1070)
    progress = Progress(standings)
    as_fields(progress, 5.0)
    standings.table("a").took(3, 1070, records=600)
    assert as_fields(progress, 9.0) == {
        "offsets": 2000,
        "offsets_read": 2000,
        "offsets_landed": 0,
        "topics_left": 0,
        "records_per_second": 150,
        "seconds_left": None,
        "failing": [],
    }


def test_each_topic_has_a_bar_and_all_have_a_sum() -> None:
    text = drawn(bars(Progress(running("clicks", "orders")), 5.0, lines=25))
    assert len(text) == 3
    assert text[0].startswith("clicks ━━━")
    assert text[1].rstrip().endswith("250 of 1,000")
    assert text[2].startswith("500 of 2,000 offsets read, 0 landed")


def test_bars_never_pass_the_height_of_the_terminal_and_those_with_the_most_left_are_shown() -> None:
    standings = running(*(f"topic-{number:03}" for number in range(200)))
    standings.table("topic-077").took(3, 75)
    text = drawn(bars(Progress(standings), 5.0, lines=10), height=10)
    assert len(text) == 8
    assert text[0].startswith("topic-077")
    assert text[6].startswith("and 194 more topics: 48,500 of 194,000")


def test_before_topics_are_known_and_where_nothing_is_left_it_says_so() -> None:
    standings = Standings()
    assert drawn(bars(Progress(standings), 5.0, lines=10)) == ["looking for topics …"]
    standings.goals = {}
    assert drawn(bars(Progress(standings), 5.0, lines=10)) == ["nothing to land"]


def test_when_all_is_read_and_not_landed_it_commits() -> None:
    standings = running("a", read=1070)
    assert "committing" in drawn(bars(Progress(standings), 5.0, lines=10))[-1]
    standings.table("a").landed([(3, 1070)], Fold())
    assert drawn(bars(Progress(standings), 5.0, lines=10))[-1].startswith("1,000 of 1,000 offsets read, 1,000 landed")


def test_a_loader_without_an_end_has_one_line_however_narrow_the_terminal() -> None:
    standings = running("a", "b")
    progress = Progress(standings)
    standings.table("b").landed([(3, 70)], Fold(seq=1, created_ms=NOW_MS - 65_000))
    standings.table("a").partitions[3].bounds(20, 99, wall_ms=NOW_MS - 3000, monotonic_ms=7)
    said = drawn(line(progress, 5.0, NOW_MS))
    assert said == ["2 topics, 2 partitions · 0 records/s · 29 offsets to land, the oldest 3.0s old · last commit 1m 5s ago"]
    out = io.StringIO()
    Console(file=out, width=20).print(line(progress, 6.0, NOW_MS))
    assert out.getvalue() == "2 topics, 2 partiti…\n"


def test_whoever_looks_sees_which_table_fails_and_programs_too() -> None:
    standings = running("a", "b")
    standings.table("b").recovery.failed(RuntimeError("nobody foresaw it"), WallMs(NOW_MS))
    progress, why = Progress(standings), "b does not land: RuntimeError: nobody foresaw it"
    assert drawn(bars(progress, 5.0, lines=25))[-2] == why
    assert drawn(line(progress, 5.0, NOW_MS))[0] == why
    assert as_fields(progress, 6.0)["failing"] == ["b"]


def test_while_bars_are_drawn_warnings_go_above_them_whole_and_the_rest_is_not_shown() -> None:
    before, shown = io.StringIO(), io.StringIO()
    handlers, level = logging.root.handlers[:], logging.root.level
    try:
        log_to_stderr(stream=before)
        with log_to(Above(Console(file=shown, width=20, force_terminal=True)), logging.WARNING):
            logging.getLogger("t").info("hidden")
            logging.getLogger("t").warning("[bold]shown[/bold]", extra={"topic": "blobs"})
        logging.getLogger("t").info("again")
    finally:
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)
    assert [text.count("\n") for text in (shown.getvalue(), before.getvalue())] == [1, 1]
    assert '"msg": "[bold]shown[/bold]"' in shown.getvalue()
    assert '"msg": "again"' in before.getvalue()

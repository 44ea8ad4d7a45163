"""How far landing is behind, and for how long that is safe."""

import io
import json
from math import inf
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from rich.console import Console

from headrace.clock import MonotonicMs, WallMs
from headrace.errors import CorruptError
from headrace.sinks.lag import spoken
from headrace.sinks.lag.backlog import Backlog, Pace, Retention
from headrace.sinks.lag.collector import MAX_PARTITIONS, StandingsCollector
from headrace.sinks.lag.report import drawn, write_csv, write_json
from headrace.sinks.lag.standings import Standings
from headrace.sinks.lag.survey import PartitionLag, TableLag
from headrace.sinks.metrics import FAMILIES
from headrace.sinks.table.fold import Fold
from headrace.sinks.table.record import DataFile
from tests.unit.sinks.messages import Message

DOCUMENT = Path(__file__).parents[3] / "docs" / "metrics.md"
NOW_MS = 1_790_000_000_000
HOUR_MS = 3_600_000


def test_what_has_landed_to_the_end_is_no_backlog_and_nothing_takes_it() -> None:
    measure = Backlog(landed=70, log_start=20, end=70).measured(Retention(HOUR_MS, 1), 5.0, NOW_MS)
    assert (measure.offsets, measure.seconds, measure.seconds_until_retention) == (0, 0.0, inf)


def test_lag_is_the_offsets_to_the_end_and_the_age_of_the_first_of_them() -> None:
    measure = Backlog(landed=70, log_start=20, end=99, oldest_ms=NOW_MS - 4500).measured(Retention(), None, NOW_MS)
    assert (measure.offsets, measure.seconds, measure.seconds_until_retention) == (29, 4.5, inf)


def test_a_record_that_nobody_has_read_is_as_old_as_it_is_known() -> None:
    assert Backlog(70, 20, 99, since_ms=NOW_MS - 2500).seconds(NOW_MS) == 2.5
    assert Backlog(70, 20, 99).seconds(NOW_MS) == 0.0


def test_a_record_from_the_future_is_not_late() -> None:
    assert Backlog(70, 20, 99, oldest_ms=NOW_MS + 60_000).seconds(NOW_MS) == 0.0


def test_age_takes_the_oldest_record_when_retention_ms_have_passed_since_its_timestamp() -> None:
    backlog = Backlog(70, 20, 99, oldest_ms=NOW_MS - 600_000)
    assert backlog.seconds_until_retention(Retention(ms=HOUR_MS), None, NOW_MS) == 3000.0
    assert backlog.seconds_until_retention(Retention(ms=500_000), None, NOW_MS) == 0.0


def test_size_takes_it_when_the_start_of_the_log_gets_there_at_its_pace() -> None:
    backlog = Backlog(70, 20, 99, oldest_ms=NOW_MS)
    assert backlog.seconds_until_retention(Retention(bytes=1000), 2.5, NOW_MS) == 20.0
    assert backlog.seconds_until_retention(Retention(ms=7000, bytes=1000), 2.5, NOW_MS) == 7.0


@pytest.mark.parametrize("pace", [None, 0.0])
def test_size_foretells_nothing_while_the_start_does_not_move_or_has_not_been_watched(pace: float | None) -> None:
    assert Backlog(70, 20, 99).seconds_until_retention(Retention(bytes=1000), pace, NOW_MS) == inf


def test_what_is_gone_already_has_no_time_left() -> None:
    assert Backlog(landed=70, log_start=71, end=99).seconds_until_retention(Retention(), None, NOW_MS) == 0.0


def test_retention_that_is_not_known_is_not_foretold() -> None:
    assert Backlog(70, 20, 99).measured(None, 2.0, NOW_MS).seconds_until_retention is None


def test_the_pace_of_a_start_is_known_after_ten_minutes_and_forgets_what_was_over_an_hour_ago() -> None:
    pace = Pace()
    minutes = [pace.saw(1000 * minute, 7 + 60_000 * minute) for minute in range(180)]
    assert minutes[:10] == [None] * 10
    assert minutes[10] == pytest.approx(1000 / 60)
    stopped = [pace.saw(179_000, 7 + 60_000 * minute) for minute in range(180, 300)]
    assert stopped[30] is not None
    assert 0 < stopped[30] < 1000 / 60
    assert stopped[-1] == 0.0


def test_a_start_that_goes_back_with_a_topic_made_anew_does_not_move() -> None:
    pace = Pace()
    pace.saw(5000, 7)
    assert pace.saw(0, 7 + 20 * 60_000) == 0.0


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0s"),
        (0.42, "0.4s"),
        (10, "10s"),
        (192, "3m 12s"),
        (3600, "1h"),
        (3660.5, "1h 1m"),
        (187_201, "2d 4h"),
        (86_401, "1d"),
    ],
)
def test_durations_are_said_in_their_two_greatest_units(seconds: float, said: str) -> None:
    assert spoken.duration(seconds) == said


def lag(topic: str, partition: int, **known: object) -> PartitionLag:
    said = {
        "landed_offset": 70,
        "end_offset": 99,
        "lag_offsets": 29,
        "lag_seconds": 4.5,
        "seconds_until_retention": 3000.0,
        "lost_offsets": 0,
    }
    return PartitionLag(topic, partition, **{**said, **known})  # type: ignore[arg-type]


TABLES = [
    TableLag("blobs", (lag("blobs", 0), lag("blobs", 1, seconds_until_retention=2.0)), NOW_MS - 60_000, 4, 500_000_000),
    TableLag(
        "gone", (lag("gone", 0, end_offset=None, lag_offsets=None, lag_seconds=None, seconds_until_retention=None),), None, 0, 0
    ),
]


def text_of(lines: int | None, *, width: int = 160) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(drawn(TABLES, NOW_MS, width=width, lines=lines))
    return out.getvalue()


def test_json_has_an_object_for_each_partition_with_what_is_the_tables_in_each() -> None:
    out = io.StringIO()
    write_json(TABLES, NOW_MS, out)
    first, second, gone = map(json.loads, out.getvalue().splitlines())
    assert first == {
        "topic": "blobs",
        "partition": 0,
        "landed_offset": 70,
        "end_offset": 99,
        "lag_offsets": 29,
        "lag_seconds": 4.5,
        "seconds_until_retention": 3000.0,
        "lost_offsets": 0,
        "last_commit_ms": NOW_MS - 60_000,
        "files": 4,
        "file_bytes": 500_000_000,
        "files_per_gigabyte": 8.0,
        "at_ms": NOW_MS,
        "error": None,
    }
    assert (second["partition"], second["files"]) == (1, 4)
    assert (gone["end_offset"], gone["last_commit_ms"], gone["files_per_gigabyte"]) == (None, None, None)


def test_csv_has_a_header_and_leaves_what_is_not_known_empty() -> None:
    out = io.StringIO()
    write_csv(TABLES, NOW_MS, out)
    header, _, _, gone = out.getvalue().splitlines()
    assert header.startswith("topic,partition,landed_offset,end_offset,lag_offsets")
    assert gone == f"gone,0,70,,,,,0,,0,0,,{NOW_MS},"


def test_people_see_each_table_once_with_its_files_and_what_is_behind_in_all() -> None:
    text = text_of(None)
    assert text.count("blobs") == 1
    assert "1m ago" in text
    assert "50m" in text
    assert "never" in text
    assert "2 topics, 3 partitions: 58 offsets have not landed, the oldest 4.5s old" in text


def test_where_there_are_few_lines_those_in_danger_stay() -> None:
    text = text_of(2)
    assert "2.0s" in text
    assert "50m" not in text
    assert "2 more are better off" in text


def test_a_table_whose_log_cannot_be_read_is_shown_as_such_beside_the_others() -> None:
    unread = TableLag("torn", (PartitionLag("torn", 0, *[None] * 6),), None, 0, 0, "0.json: it is torn")
    out, shown = io.StringIO(), io.StringIO()
    write_json([unread, TABLES[0]], NOW_MS, out)
    torn, *others = map(json.loads, out.getvalue().splitlines())
    assert (torn["landed_offset"], torn["lag_offsets"], torn["error"]) == (None, None, "0.json: it is torn")
    assert [other["error"] for other in others] == [None, None]
    Console(file=shown, width=160).print(drawn([unread, TABLES[0]], NOW_MS, width=160))
    assert "cannot be read" in shown.getvalue()
    assert "58 offsets have not landed" in shown.getvalue()


@pytest.mark.parametrize("width", [80, 60, 50])
def test_a_narrow_terminal_shows_what_matters_whole_and_does_without_the_rest(width: int) -> None:
    head, *text = text_of(None, width=width).splitlines()
    assert head.split()[:2] == ["topic", "part"]
    assert "lag" in head
    assert "retention in" in head
    assert "MB" not in head
    assert not any("…" in row for row in text[:-1])


class StoppedClock:
    """Time that does not pass."""

    def wall_ms(self) -> WallMs:
        return WallMs(NOW_MS)

    def monotonic_ms(self) -> MonotonicMs:
        return MonotonicMs(77)


def told(standings: Standings) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(StandingsCollector(standings, StoppedClock()))
    lines = generate_latest(registry).decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def table_of(*sizes: int) -> Fold:
    files = {f"f{n}": DataFile(f"f{n}", "parquet", 1, size, "", "", 0, 0) for n, size in enumerate(sizes)}
    return Fold(seq=4, created_ms=NOW_MS - 60_000, files=files)


def test_a_partition_is_told_of_from_the_next_offset_to_land_and_by_the_first_record_that_was_read_after_it() -> None:
    standings = Standings()
    table = standings.table("blobs")
    table.begin(3, 70)
    assert 'headrace_load_lag_offsets{partition="3",topic="blobs"}' not in told(standings)
    table.saw(3, Message(70, b"first", NOW_MS - 9000))
    table.saw(3, Message(75, b"later", NOW_MS - 4000))
    table.partitions[3].bounds(20, 99, wall_ms=NOW_MS, monotonic_ms=77)
    table.retention = Retention(ms=HOUR_MS)
    shown = told(standings)
    labels = '{partition="3",topic="blobs"}'
    assert shown[f"headrace_load_landed_offset{labels}"] == 70
    assert shown[f"headrace_load_end_offset{labels}"] == 99
    assert shown[f"headrace_load_lag_offsets{labels}"] == 29
    assert shown[f"headrace_load_lag_seconds{labels}"] == 9
    assert shown[f"headrace_load_seconds_until_retention{labels}"] == 3591
    assert "headrace_load_files" + '{topic="blobs"}' not in shown

    table.landed([(3, 99)], table_of(300_000_000, 500_000_000))
    shown = told(standings)
    assert (shown[f"headrace_load_lag_offsets{labels}"], shown[f"headrace_load_lag_seconds{labels}"]) == (0, 0)
    assert shown[f"headrace_load_seconds_until_retention{labels}"] == inf
    assert shown['headrace_load_files{topic="blobs"}'] == 2
    assert shown['headrace_load_file_bytes{topic="blobs"}'] == 800_000_000
    assert shown['headrace_load_files_per_gigabyte{topic="blobs"}'] == 2.5
    assert shown['headrace_load_last_commit_timestamp_seconds{topic="blobs"}'] == (NOW_MS - 60_000) / 1000


def test_a_table_that_starts_over_keeps_its_lag_and_one_that_another_loader_has_does_not() -> None:
    standings = Standings()
    table = standings.table("blobs")
    table.begin(3, 70)
    table.saw(3, Message(70, b"first", NOW_MS - 9000))
    table.partitions[3].bounds(20, 99, wall_ms=NOW_MS - 5000, monotonic_ms=77)
    table.begin(3, 70)
    assert told(standings)['headrace_load_lag_seconds{partition="3",topic="blobs"}'] == 9
    table.begin(3, 80)
    assert 'headrace_load_lag_seconds{partition="3",topic="blobs"}' not in told(standings)
    table.partitions[3].bounds(20, 99, wall_ms=NOW_MS - 2000, monotonic_ms=77)
    assert told(standings)['headrace_load_lag_seconds{partition="3",topic="blobs"}'] == 2
    table.keep([0, 1])
    assert not standings.partitions()


def test_a_table_that_fails_is_told_of_until_it_lands_again() -> None:
    standings = Standings()
    failing, sound = '{topic="torn"}', '{topic="blobs"}'
    standings.table("blobs")
    standings.table("torn").recovery.failed(CorruptError("0.json: it is torn"), WallMs(NOW_MS))
    shown = told(standings)
    assert (shown[f"headrace_load_failing{failing}"], shown[f"headrace_load_failing{sound}"]) == (1, 0)
    assert standings.why_not_all_land() == "torn does not land: 0.json: it is torn"
    standings.table("torn").recovery.is_well()
    assert told(standings)[f"headrace_load_failing{failing}"] == 0
    assert standings.why_not_all_land() is None


def test_beyond_a_thousand_partitions_those_in_the_most_danger_are_told_of() -> None:
    standings = Standings()
    table = standings.table("wide")
    table.retention = Retention(ms=HOUR_MS)
    for partition in range(MAX_PARTITIONS + 30):
        table.begin(partition, 70)
        table.partitions[partition].bounds(20, 70, wall_ms=NOW_MS, monotonic_ms=77)
    table.partitions[1010].bounds(20, 99, wall_ms=NOW_MS - 5000, monotonic_ms=77)
    shown = told(standings)
    assert shown["headrace_load_unlisted_partitions"] == 30
    assert shown['headrace_load_lag_offsets{partition="1010",topic="wide"}'] == 29
    assert sum(name.startswith("headrace_load_lag_seconds") for name in shown) == MAX_PARTITIONS


def test_the_document_has_a_line_for_every_metric_of_the_loader() -> None:
    _, _, loaders = DOCUMENT.read_text().partition("## The loader's")
    loaders, _, _ = loaders.partition("## The audit's")
    table = [line for line in loaders.splitlines() if line.startswith("| `")]
    assert table == [f"| `{each.name}` | {each.kind} | {', '.join(each.labels)} | {each.text} |" for each in FAMILIES]


def test_every_metric_of_the_loader_has_a_name_of_its_own_and_the_ending_of_its_kind() -> None:
    names = [each.name for each in FAMILIES]
    assert len(names) == len(set(names))
    for each in FAMILIES:
        assert each.name.startswith("headrace_load_")
        assert each.name.endswith("_total") == (each.kind == "counter"), each.name

"""Every row has one directory, by its period in a time zone and its columns; no two partitions share one."""

import random
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from headrace.errors import CorruptError
from headrace.sinks.config import LayoutKeys, Load
from headrace.sinks.layout import Layout
from headrace.sinks.path_template import escape, path_keys
from headrace.sinks.table import names


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def directories(times: list[int], columns: dict[str, pa.Array] | None = None, **keys: Any) -> list[str]:
    """The directory of each row."""
    rows = pa.table(columns or {"n": pa.array(range(len(times)))})
    found = [""] * len(times)
    for directory, part in Layout(LayoutKeys(**keys)).split(rows, np.array(times)):
        for index in range(len(times)) if part is None else part.tolist():
            assert not found[index], "a row has one directory"
            found[index] = directory
    assert all(found)
    return found


def test_by_default_hours_of_event_time_in_utc() -> None:
    times = [ms("2026-11-22T13:59:59.999"), ms("2026-11-22T14:00"), ms("2026-11-22T13:00")]
    assert directories(times) == ["dt=2026-11-22/hour=13", "dt=2026-11-22/hour=14", "dt=2026-11-22/hour=13"]
    assert directories(times[:1]) == ["dt=2026-11-22/hour=13"]


def test_a_path_without_hour_has_a_directory_a_day() -> None:
    assert directories([ms("2026-11-22T23:59"), ms("2026-11-23T00:00")], path="d/{year}/{month}-{day}") == [
        "d/2026/11-22",
        "d/2026/11-23",
    ]


@pytest.mark.parametrize(
    "zone", ["Europe/Zurich", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Monrovia"]
)
def test_any_time_lies_in_the_hour_that_clocks_of_its_zone_show(zone: str) -> None:
    rnd = random.Random(zone)
    spring, past = ms("2026-04-04T14:00"), ms("1972-01-07T00:40")  # Lord Howe: half an hour; Monrovia: 44 minutes and 30 s
    times = [rnd.randrange(ms("1900-01-01"), ms("2040-01-01")) for _ in range(500)]
    times += [start + rnd.randrange(7_200_000) for start in (spring, past, ms("2026-10-25T00:00")) for _ in range(200)]
    expected = [datetime.fromtimestamp(each / 1000, ZoneInfo(zone)) for each in times]
    assert directories(times, time_zone=zone) == [f"dt={at:%Y-%m-%d}/hour={at:%H}" for at in expected]


def test_the_ends_of_the_calendar_have_directories_in_every_zone() -> None:
    ends = [ms("0001-01-01"), ms("9999-12-31T23:59:59.999")]
    for zone in ("Asia/Tokyo", "America/Anchorage"):
        found = directories(ends, time_zone=zone)
        assert [path[:7] for path in found] == ["dt=0001", "dt=9999"]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([ms("2020-05-05T05:00"), None], pa.timestamp("ms", "UTC")), "dt=2020-05-05/hour=05"),
        (pa.array([ms("2020-05-05T05:00") * 1000, None], pa.timestamp("us")), "dt=2020-05-05/hour=05"),
        (pa.array([date(2020, 5, 5), None]), "dt=2020-05-05/hour=00"),
        (pa.array([ms("2020-05-05T05:00"), 2**62]), "dt=2020-05-05/hour=05"),
        (pa.array(["2020-05-05T07:00:00+02:00", "soon"]), "dt=2020-05-05/hour=05"),
        (pa.array(["2020-05-05T05:00:00.5", None]), "dt=2020-05-05/hour=05"),
    ],
)
def test_a_column_gives_the_time_and_where_it_says_none_the_event_time_does(column: pa.Array, expected: str) -> None:
    event = ms("2026-11-22T13:00")
    assert directories([event, event], {"at": column}, by="at") == [expected, "dt=2026-11-22/hour=13"]


def test_a_column_that_is_not_there_or_no_time_leaves_the_event_time() -> None:
    event = ms("2026-11-22T13:00")
    for column in (pa.array([[1], [2]]), pa.array([True, False])):
        assert directories([event, event], {"at": column}, by="at") == ["dt=2026-11-22/hour=13"] * 2
    assert directories([event, event], by="at") == ["dt=2026-11-22/hour=13"] * 2


def test_read_time_is_kafkas_timestamp() -> None:
    kafka = pa.array([ms("2026-11-23T00:00")], pa.timestamp("ms", "UTC"))
    assert directories([ms("2026-11-22T13:00")], {"_timestamp": kafka}, by="read_time") == ["dt=2026-11-23/hour=00"]


def test_columns_in_the_path_and_fields_of_records_part_the_rows() -> None:
    event, keys = ms("2026-11-22T13:00"), {"path": "dt={date}/service={service}/zone={place.zone}"}
    columns = {
        "service": pa.array(["shop", None, "a/b", "shop"]),
        "place": pa.array([{"zone": 1}, {"zone": 2}, None, {"zone": 1}]),
    }
    assert directories([event] * 4, columns, **keys) == [
        "dt=2026-11-22/service=shop/zone=1",
        "dt=2026-11-22/service=__HIVE_DEFAULT_PARTITION__/zone=2",
        "dt=2026-11-22/service=a%2Fb/zone=__HIVE_DEFAULT_PARTITION__",
        "dt=2026-11-22/service=shop/zone=1",
    ]


def test_different_values_have_different_directories_that_stay_in_the_table() -> None:
    rnd = random.Random(4)
    alphabet = "ab/%.~_=\\:\x00\n\x1f\x7fé\U0001f600{}*?'\""
    values = ["", ".", "..", "../../etc", "/etc", "__HIVE_DEFAULT_PARTITION__", "%5F_HIVE_DEFAULT_PARTITION__", "a%2Fb", "a/b"]
    values += ["".join(rnd.choices(alphabet, k=rnd.randrange(9))) for _ in range(3000)]
    values += ["é" * 150 + str(n) for n in range(20)] + ["x" * 100_000]
    values += [escape("y" * 300), escape("y" * 300).replace("~", "%7E")]
    distinct = sorted(set(values))
    events = [ms("2026-11-22T13:00")] * len(distinct)
    found = directories(events, {"v": pa.array(distinct)}, path="dt={date}/v={v}")
    assert len(set(found)) == len(distinct)
    for path in found:
        assert names.checked_path(path) == path
        assert path.count("/") == 1
        assert len(path.partition("/")[2].encode()) <= 255
    with pytest.raises(CorruptError):
        names.checked_path("dt=2026/..")


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("hour={hour}", "does not tell days apart"),
        ("{year}/{month}/hour={hour}", "does not tell days apart"),
        ("dt={date}/hour={hour}/", "not empty"),
        ("/dt={date}/hour={hour}", "not empty"),
        ("dt={date}/../hour={hour}", "neither _ nor"),
        ("_dt={date}", "neither _ nor"),
        (".dt={date}", "neither _ nor"),
        ("dt={date}/{service}", "at the end of a directory's name and alone"),
        ("dt={date}/s={service}{host}", "at the end of a directory's name and alone"),
        ("dt={date}-{service}", "at the end of a directory's name and alone"),
        ("dt={date}/s={service}x", "at the end of a directory's name and alone"),
        ("dt={date}/dt={hour}", "dt= twice"),
        ("dt={date}/s={}", "is no column"),
        ("dt={date}/s={a..b}", "is no column"),
        ("dt={date}/s={a", "only letters"),
        ("dt={date}/a b", "only letters"),
        ("dt={date}/a\\b", "only letters"),
        ("dt={date}/1/2/3/4/5/6/7/8", "deeper"),
    ],
)
def test_a_path_by_which_partitions_could_meet_or_leave_the_table_is_refused_at_start(path: str, why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Load.model_validate({"root": "/r", "layout": {"path": path}})
    with pytest.raises(ValidationError, match=why):
        Load.model_validate({"root": "/r", "per_topic": [{"topics": ["a"], "layout": {"path": path}}]})


def test_a_time_zone_that_does_not_exist_is_refused_at_start() -> None:
    for zone in ("Mars/Olympus", "../../etc/passwd", ""):
        with pytest.raises(ValidationError, match="no time zone"):
            Load.model_validate({"root": "/r", "layout": {"time_zone": zone}})


def test_what_is_given_for_a_topic_goes_over_what_is_given_for_all_key_by_key() -> None:
    load = Load.model_validate(
        {
            "root": "/r",
            "format": "json",
            "rotate": {"age": "1m", "rows": 5},
            "layout": {"time_zone": "Asia/Tokyo"},
            "per_topic": [
                {"topics": ["a.*"], "rotate": {"rows": 7}, "layout": {"path": "dt={date}"}},
                {"topics": [".*"], "format": "avro"},
            ],
        }
    )
    one = load.output_of("abc")
    assert (one.format, one.rotate.age, one.rotate.rows) == ("json", 60, 7)
    assert (one.layout.time_zone, one.layout.path) == ("Asia/Tokyo", "dt={date}")
    assert load.output_of("b").format == "avro"
    assert load.output_of("b").rotate.rows == 5


@pytest.mark.parametrize(
    ("path", "keys"),
    [
        ("dt={date}/hour={hour}", {"dt", "hour"}),
        ("hour={hour}/{date}/service={service}", {"hour"}),
        ("{year}/{month}/day={day}/of={service}", {"day", "of"}),
    ],
)
def test_the_keys_of_a_path_are_those_that_engines_make_columns_of_but_for_a_columns_own(path: str, keys: set[str]) -> None:
    assert path_keys(path) == keys

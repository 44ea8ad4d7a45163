"""Beam's source of landed tables gives the rows of the snapshot, of whatever format, and reads what it must."""

import itertools
from dataclasses import replace

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.beam import ReadTable, run_pipeline
from headrace.errors import CorruptError, StorageError, UsageError
from headrace.jobs.batch import table_scan
from headrace.jobs.batch.tables import RecordBatchCoder, plan
from headrace.sinks.config import Output
from headrace.sinks.formats.catalog import SUFFIXES, encoder
from headrace.sinks.stores.local import LocalStore
from headrace.sinks.table import names
from tests.landed_tables import ENVELOPE, TEXT, Event, TableWriter

T0, HOUR = 1_763_900_400_000, 3_600_000  # 2025-11-23 12:20 UTC
EVENTS = [Event("a", n * 30, T0 + n * 700_000, host=f"web-{n % 3}", fields={"k": "v"}) for n in range(40)]


@pytest.fixture
def root(tmp_path):
    table = TableWriter(tmp_path, "logs")
    table.land_events(EVENTS[:25])
    table.land_events(EVENTS[25:], staged=True)
    return tmp_path


def read(root, topic="logs", **given):
    """All rows, by position."""
    table = ReadTable(root, topic, rows=True, **given)
    found = run_pipeline(lambda pipeline: pipeline | table | beam.Map(lambda row: {k: str(v) for k, v in row.items()}))
    return sorted(found, key=lambda row: int(row.get("position", 0)))


def positions(root, **given):
    return [int(row["position"]) for row in read(root, columns=["position"], **given)]


def test_all_rows_come_in_all_columns_or_those_wanted(root):
    rows = read(root)
    assert [int(row["position"]) for row in rows] == [event.position for event in EVENTS]
    assert set(rows[0]) == set(ENVELOPE.names)
    assert read(root, columns=["host", "position"])[4] == {"host": "web-1", "position": "120"}


def test_conditions_and_times_give_the_rows_that_fulfil_them(root):
    wanted = [e.position for e in EVENTS if e.host == "web-1" and e.position < 700]
    assert positions(root, where=[("host", "==", "web-1"), ("position", "<", 700)]) == wanted
    assert positions(root, where=[[("position", "=", 30)], [("host", "in", ["web-2"]), ("position", ">", 1000)]]) == [
        e.position for e in EVENTS if e.position == 30 or (e.host == "web-2" and e.position > 1000)
    ]
    since, until = "2025-11-23T13:00", "2025-11-23T15:30Z"
    times = [e.position for e in EVENTS if T0 + 2_400_000 <= e.event_ms < T0 + 11_400_000]
    assert positions(root, since=since, until=until) == times
    assert positions(root, where=[("dt", "=", "2025-11-23"), ("hour", "<", 14)]) == [
        e.position for e in EVENTS if e.event_ms < T0 + 6_000_000
    ]


def test_times_with_none_between_them_are_refused_as_they_are_given(root):
    for error in (ValueError, UsageError):
        with pytest.raises(error, match="since='2025-11-24' is after until=1: no time is between them"):
            ReadTable(root, "logs", since="2025-11-24", until=1)
    assert positions(root, since=T0, until=T0) == []


def test_files_out_of_the_times_and_paths_are_not_read(root):
    since, until = T0 + 2_400_000, T0 + 6_000_000
    of_hour = ReadTable(root, "logs", columns=["position"], since=since, until=until, rows=True)
    of_path = ReadTable(root, "logs", columns=["position"], where=[("hour", "=", 13)], rows=True)
    of_all = ReadTable(root, "logs", rows=True)
    for path in root.rglob("*.parquet"):
        if "hour=13" not in str(path):
            path.write_bytes(b"damaged")
    wanted = [event.position for event in EVENTS if since <= event.event_ms < until]
    for source in (of_hour, of_path):
        found = run_pipeline(lambda pipeline, source=source: pipeline | source)
        assert sorted(row["position"] for row in found) == wanted
    with pytest.raises(CorruptError, match="cannot be read"):
        run_pipeline(lambda pipeline: pipeline | of_all)


def test_files_that_move_after_the_snapshot_are_found_and_later_ones_are_not_read(root):
    table = ReadTable(root, "logs", columns=["position"], rows=True)
    store = LocalStore(root / "logs")
    for path in sorted((root / "logs" / names.STAGING).rglob("*.parquet")):
        name = str(path.relative_to(root / "logs" / names.STAGING))
        store.move(names.staged(name), name)
    for path in list((root / "logs").glob("dt=*/hour=12/*.parquet")):
        store.move(str(path.relative_to(root / "logs")), names.removed(str(path.relative_to(root / "logs"))))
    TableWriter(root, "logs").land_events([Event("b", 7, T0)])
    found = run_pipeline(lambda pipeline: pipeline | table)
    assert sorted(row["position"] for row in found) == [event.position for event in EVENTS]


def test_a_table_is_read_as_it_was_after_a_record(root):
    assert positions(root, as_of=0) == [event.position for event in EVENTS[:25]]
    assert positions(root, as_of="1") == [event.position for event in EVENTS]
    with pytest.raises(UsageError, match="as of 9: the newest record is 1"):
        ReadTable(root, "logs", as_of=9)


def test_a_file_that_is_nowhere_is_an_error_that_names_it(root):
    table = ReadTable(root, "logs")
    next((root / "logs").glob("dt=*/hour=13/*.parquet")).unlink()
    with pytest.raises(StorageError, match="the log names this file, and it is missing"):
        run_pipeline(lambda pipeline: pipeline | table | beam.Map(lambda batch: batch.num_rows))


class Written(TableWriter):
    """Writes its files in a format, and in row groups of ten."""

    format = "parquet"

    def _write(self, attempt, n, rows, schema):
        file = super()._write(attempt, n, rows, schema)
        staged = self.directory / names.staged(file.path)
        table = pq.ParquetFile(staged).read()
        path = file.path.removesuffix(".parquet") + SUFFIXES[self.format]
        target = self.directory / names.staged(path)
        output = Output.model_validate({"format": self.format, "parquet": {"row_group_rows": 10}})
        with target.open("wb") as sink:
            writing = encoder(sink, table.schema, output)
            writing.write(table)
            writing.close()
        if target != staged:
            staged.unlink()
        return replace(file, path=path, format=self.format, bytes=target.stat().st_size)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["parquet", "avro", "json"])
def test_every_format_gives_the_same_rows(kind, tmp_path):
    table = Written(tmp_path, "logs")
    table.format = kind
    table.land_events(EVENTS)
    plain = TableWriter(tmp_path, "plain")
    plain.land_events(EVENTS)
    given = {"since": T0 + HOUR, "where": [("host", "!=", "web-0")]}
    assert read(tmp_path, **given) == read(tmp_path, "plain", **given)
    assert read(tmp_path) == read(tmp_path, "plain")


def test_large_files_are_read_by_row_groups_without_those_that_cannot_match(tmp_path, monkeypatch):
    monkeypatch.setattr(table_scan, "PIECE_BYTES", 0)
    Written(tmp_path, "logs").land_events([Event("a", n, T0 + n) for n in range(95)])

    def parts(**given):
        scan, pieces = plan(tmp_path, "logs", **{"since": None, "until": None, "columns": None, "where": (), **given})
        return [part.row_groups for piece in pieces for part in scan.split(piece)]

    assert parts() == [(n,) for n in range(10)]
    size = next(tmp_path.rglob("*.parquet")).stat().st_size
    monkeypatch.setattr(table_scan, "PIECE_BYTES", size // 2)
    assert parts() == [(0, 1, 2, 3, 4), (5, 6, 7, 8, 9)] or parts() == [(0, 1, 2, 3), (4, 5, 6, 7), (8, 9)]
    monkeypatch.setattr(table_scan, "PIECE_BYTES", 0)
    assert parts(since=T0 + 25, until=T0 + 45) == [(2,), (3,), (4,)]
    assert parts(where=[("position", ">=", 88)]) == [(8,), (9,)]
    assert parts(since=T0 + 25, where=[("position", "<", 31)]) == [(2,), (3,)]
    assert positions(tmp_path, since=T0 + 25, until=T0 + 45) == list(range(25, 45))


def test_small_files_come_together_in_batches_that_are_bounded_in_rows_and_in_bytes(tmp_path, monkeypatch):
    table = TableWriter(tmp_path, "logs")
    for hour in range(12):
        table.land_events([Event("a", hour * 10 + n, T0 + hour * HOUR + n, message="x" * 1000) for n in range(10)])

    def lengths():
        scan, pieces = plan(tmp_path, "logs", since=T0 + 5, until=None, columns=["position", "message"], where=())
        batches = [batch for piece in pieces for batch in scan.batches(piece)]
        assert [n for batch in batches for n in batch["position"].to_pylist()] == list(range(5, 120))
        return [batch.num_rows for batch in batches]

    assert lengths() == [115]
    monkeypatch.setattr(table_scan, "BATCH_ROWS", 30)
    assert lengths() == [35, 30, 30, 20]
    monkeypatch.setattr(table_scan, "BATCH_BYTES", 15_000)
    assert lengths() == [15, *[20] * 5]
    monkeypatch.setattr(table_scan, "PIECE_BYTES", 0)
    assert lengths() == [5, *[10] * 11]


def test_rows_without_a_time_of_their_own_are_of_kafka_s_and_are_not_pruned_away(tmp_path, monkeypatch):
    monkeypatch.setattr(table_scan, "PIECE_BYTES", 0)
    rows = [Event("a", n, T0 + n).row() for n in range(40)]
    for row in rows[20:30]:
        row["event_time"] = None if row["position"] % 2 else 9_000_000_000_000_000_000  # no calendar's
    Written(tmp_path, "logs").land(rows)
    assert positions(tmp_path, since=T0 + 18, until=T0 + 26) == list(range(18, 26))


def test_files_of_earlier_columns_come_under_those_of_all(tmp_path):
    early = pa.schema([*TEXT, ("n", pa.int32())])
    late = pa.schema([*TEXT, ("n", pa.int64()), ("extra", pa.string())])
    table = TableWriter(tmp_path, "orders", early)
    table.land([{"_key": None, "value": "{}", "n": 1, "_timestamp": T0}])
    table.land([{"_key": None, "value": "{}", "n": 1 << 40, "extra": "x", "_timestamp": T0 + HOUR}], schema=late)
    source = ReadTable(tmp_path, "orders", columns=["n", "extra"])
    found = run_pipeline(lambda p: p | source | beam.Map(lambda b: [str(b.schema.field("n").type), b.to_pylist()]))
    assert found == [["int64", [{"n": 1, "extra": None}, {"n": 1 << 40, "extra": "x"}]]]
    assert read(tmp_path, "orders", columns=["n"], where=[("extra", "=", "x")]) == [{"n": str(1 << 40)}]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"topic": "lgs"}, "no table 'lgs'; did you mean logs? (tables: logs)"),
        ({"columns": ["hots"]}, "table logs has no column 'hots'; did you mean host?"),
        ({"where": [("hots", "=", "x")]}, "table logs has no column 'hots'"),
        ({"where": [("host", "~", "x")]}, "host ~: no such test; write one of =, =="),
        ({"where": [("position", "<", "x")]}, "give values of the columns' types"),
        ({"where": [[("dt", "=", "x")], [("host", "=", "y")]]}, "dt is a key of paths"),
        ({"since": "yesterday"}, "since yesterday: write a time as"),
    ],
)
def test_what_cannot_be_read_is_told_when_the_pipeline_is_built(root, given, said):
    with pytest.raises(UsageError) as told:
        ReadTable(root, given.pop("topic", "logs"), **given)
    assert said in str(told.value)


def test_a_batch_comes_out_of_its_coder_as_it_went_in_and_no_larger_than_it_is():
    whole = pa.record_batch({"n": list(range(10_000)), "t": ["x" * (n % 7) for n in range(10_000)]})
    coder = RecordBatchCoder()
    for batch in itertools.chain([whole], (whole.slice(at, 100) for at in (0, 5_000))):
        assert coder.decode(coder.encode(batch)) == batch
    assert len(coder.encode(whole.slice(5_000, 10))) < 1_000

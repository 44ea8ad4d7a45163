"""One attempt: gaps get their neighbours, any timestamp finds a directory, and what is closed is not its own to delete."""

import json
import resource
from pathlib import Path

import pytest
import zstandard

from headrace.clock import MonotonicMs, WallMs
from headrace.errors import PeerError, RefusedError, StorageError
from headrace.schemas.client import Registered
from headrace.schemas.framing import frame
from headrace.sinks.attempt import Attempt
from headrace.sinks.config import Output
from headrace.sinks.quarantine import MAX_REASON
from headrace.sinks.registered import GRACE_MS, Schemas
from headrace.sinks.stores.local import LocalStore
from headrace.sinks.table import names
from headrace.sinks.table.fold import Fold
from headrace.sinks.table.window_counts import MOST_WINDOWS
from tests.unit.sinks.messages import Message, Registry


def with_subject(away: PeerError | None = None) -> Schemas:
    return Registry(subjects={"t-value": Registered(1, "AVRO", "{}", ())}, away=away).schemas()


def without_schemas() -> Schemas:
    """A registry that has the subject and no schema, and has been asked for one before."""
    schemas = with_subject()
    with pytest.raises(PeerError):
        schemas.find(1, MonotonicMs(-GRACE_MS))
    return schemas


def begun(tmp_path: Path) -> Attempt:
    attempt = Attempt("t", LocalStore(tmp_path), Fold(), Output(), name="one", started_ms=MonotonicMs(0))
    attempt.start(0, 0, "id")
    return attempt


def take(attempt: Attempt, *messages: Message, schemas: Schemas | None = None) -> None:
    attempt.take(0, messages, schemas or Schemas(None), why=lambda _, end: (end, "control"), now_ms=MonotonicMs(5))


def test_a_lost_gap_is_bounded_by_the_record_read_after_it(tmp_path: Path) -> None:
    attempt = begun(tmp_path)
    take(attempt, Message(0, b"x", 1_000))
    attempt.skip(0, 40, "lost", now_ms=MonotonicMs(5))
    take(attempt, Message(40, b"x", 9_000))
    (gap,) = attempt.close(WallMs(7)).ranges[0].gaps
    assert (gap.start, gap.end, gap.after_ms, gap.before_ms) == (1, 40, 1_000, 9_000)


@pytest.mark.parametrize(
    ("time_ms", "directory"),
    [
        (2**63 - 1, "dt=9999-12-31/hour=23"),
        (253_402_300_800_000, "dt=9999-12-31/hour=23"),
        (32_503_680_000_000, "dt=3000-01-01/hour=00"),
        (1, "dt=1970-01-01/hour=00"),
        (-1, "dt=1969-12-31/hour=23"),
        (-(2**63), "dt=0001-01-01/hour=00"),
    ],
)
def test_a_record_of_any_timestamp_lands(tmp_path: Path, time_ms: int, directory: str) -> None:
    attempt = begun(tmp_path)
    take(attempt, Message(0, b"x", time_ms))
    (file,) = attempt.close(WallMs(7)).add
    assert file.path.rpartition("/")[0] == directory


def test_only_a_schema_that_the_registry_does_not_have_quarantines(tmp_path: Path) -> None:
    attempt = begun(tmp_path)
    absent = without_schemas()
    take(attempt, Message(0, frame(7, b"x")), schemas=absent)
    (landed,) = attempt.close(WallMs(7)).ranges
    assert (landed.rows, landed.quarantined, landed.duplicates) == (0, 1, 0)


@pytest.mark.parametrize(("status", "code"), [(401, 401), (403, 40301), (404, 404), (422, 42201)])
def test_a_registry_that_refuses_to_say_makes_records_wait(tmp_path: Path, status: int, code: int) -> None:
    attempt = begun(tmp_path)
    refusing = with_subject(away=RefusedError("no", status=status, code=code))
    with pytest.raises(PeerError):
        take(attempt, Message(0, frame(7, b"x")), schemas=refusing)
    assert attempt.is_empty
    assert attempt.next_offset(0) == 0


def test_discarding_leaves_a_closed_quarantine_file_to_the_commit_protocol(tmp_path: Path) -> None:
    attempt = begun(tmp_path)
    absent = without_schemas()
    take(attempt, Message(0, frame(7, b"x")), schemas=absent)
    draft = attempt.close(WallMs(7))
    attempt.discard()  # the record may be in the log already
    assert draft.quarantine is not None
    assert (tmp_path / draft.quarantine.path).exists()
    assert attempt.so_far().quarantine == draft.quarantine


def test_discarding_deletes_an_open_quarantine_file(tmp_path: Path) -> None:
    attempt = begun(tmp_path)
    absent = without_schemas()
    take(attempt, Message(0, frame(7, b"x")), schemas=absent)
    attempt.discard()
    assert not list((tmp_path / names.QUARANTINE).iterdir())


def test_an_attempt_that_a_full_disk_ended_can_be_discarded(tmp_path: Path) -> None:
    attempt = begun(tmp_path)
    absent = without_schemas()
    take(attempt, *(Message(n, frame(7, bytes([n]) * 999)) for n in range(9)), schemas=absent)
    blobs = Attempt("t", LocalStore(tmp_path), Fold(), Output(), name="two", started_ms=MonotonicMs(0))
    blobs.start(0, 0, "id")
    take(blobs, *(Message(n, b"x" * 999) for n in range(9)))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
    try:
        for one in (attempt, blobs):
            with pytest.raises(StorageError):
                one.close(WallMs(7))
            one.discard()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_what_an_idle_topic_has_read_is_due_at_its_age_though_nothing_more_comes(tmp_path: Path) -> None:
    output = Output.model_validate({"rotate": {"age": "10m"}})
    first_ms = 7 * 86_400_000
    attempt = Attempt("t", tmp_path, Fold(), output, name="two", started_ms=MonotonicMs(first_ms))
    attempt.start(0, 0, "id")
    assert not attempt.is_due(MonotonicMs(2 * first_ms))  # there is nothing to land
    attempt.take(0, [Message(0, b"x")], Schemas(None), why=lambda _, end: (end, "control"), now_ms=MonotonicMs(first_ms + 4))
    attempt.take(
        0, [Message(1, b"x")], Schemas(None), why=lambda _, end: (end, "control"), now_ms=MonotonicMs(first_ms + 400_000)
    )
    assert not attempt.is_due(MonotonicMs(first_ms + 600_003))
    assert attempt.is_due(MonotonicMs(first_ms + 600_004))


def test_an_attempt_is_due_at_half_an_hour_whatever_age_is_allowed(tmp_path: Path) -> None:
    output = Output.model_validate({"rotate": {"age": "24h"}})
    attempt = Attempt("t", tmp_path, Fold(), output, name="one", started_ms=MonotonicMs(0))
    attempt.start(0, 0, "id")
    attempt.take(0, [Message(0, b"x")], Schemas(None), why=lambda _, end: (end, "control"), now_ms=MonotonicMs(60_000))
    assert not attempt.is_due(MonotonicMs(1_799_999))
    assert attempt.is_due(MonotonicMs(1_800_000))


def test_a_flood_of_poison_of_every_time_is_counted_in_bounded_room(tmp_path: Path) -> None:
    attempt = begun(tmp_path)
    absent = without_schemas()
    count = 25_000
    take(attempt, *(Message(n, b"not framed", n * 7 % count * 600_000) for n in range(count)), schemas=absent)
    assert not attempt.is_due(MonotonicMs(6))
    quarantine = attempt.close(WallMs(7)).quarantine
    assert quarantine is not None
    assert len(quarantine.windows) <= MOST_WINDOWS
    assert sum(window.count for window in quarantine.windows) == count
    assert (quarantine.windows[0].window_start_ms, quarantine.windows[-1].end_ms) == (0, count * 600_000)


def test_a_reason_is_of_bounded_length(tmp_path: Path) -> None:
    attempt = begun(tmp_path)
    name = "x" * 5000
    text = json.dumps({"type": "object", "properties": {name: {"type": "string"}}, "required": [name]})
    schema = Registered(7, "JSON", text, ())
    schemas = Registry(by_id={7: schema}, subjects={"t-value": schema}).schemas()
    take(attempt, Message(0, frame(7, b"{}")), schemas=schemas)
    draft = attempt.close(WallMs(7))
    assert draft.quarantine is not None
    packed = (tmp_path / draft.quarantine.path).read_bytes()
    (line,) = zstandard.ZstdDecompressor().decompressobj().decompress(packed).splitlines()
    assert len(json.loads(line)["reason"]) == MAX_REASON

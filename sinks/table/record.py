"""The commit record: one JSON object, exactly as landing.md writes it. No I/O.

Unknown fields are kept, at every level, in `extra`; a newer `version` is refused; a kind that this version does not know is
refused too, because skipping it would give a wrong fold. Fields beyond landing.md's example, all optional to a reader:
`input` (how the topic's values are read, sticky for the table), `arrow_schema` (the table's columns, where this record
changes them: Arrow's IPC message in base64), `ranges[].topic_id`, `quarantine.windows` (a start and a count each; `until_ms`
where it is a span of several, because there were too many), `quarantine.content_hash`, `quarantine.last_ms`,
`add[].merged_hash`, `add[].columns`, `add[].bounds`, of rewinds `next`, `keep`, `state` (fork), `ends` (close), and of jobs'
tables `slice`, `replaces`, `job` (replace; see derived/table.py).
"""

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import NoneType, UnionType
from typing import Any, Final, NamedTuple, TypeVar, get_args

from headrace.audit import WINDOW_MS
from headrace.errors import CorruptError, VersionError
from headrace.sinks.table import names

VERSION: Final = 1
KINDS: Final = ("load", "compact", "expire", "fork", "close", "replace")
CAUSES: Final = ("control", "aborted", "compacted", "before", "lost")

T = TypeVar("T")
_ABSENT: Final = object()
_LEFT_OUT: Final = {"left out": True}
"""Fields that most records have no use for: written only where they say something."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Offsets [start, end) of a range that hold no record, and why; Kafka timestamps (ms) of the neighbours, where known."""

    start: int = field(metadata={"key": "from"})
    end: int = field(metadata={"key": "to"})
    why: str
    after_ms: int | None = None
    before_ms: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """Offsets [start, end) of one partition that a file's rows come from."""

    incarnation: int
    partition: int
    start: int
    end: int
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LandedRange:
    """Offsets [start, end) that a record covers: rows + quarantined + duplicates + Σ gaps = end − start.

    The `last_` fields describe the last record below `end` that was read; None where the range held none.
    """

    incarnation: int
    partition: int
    start: int
    end: int
    rows: int
    quarantined: int
    duplicates: int
    gaps: tuple[Gap, ...] = field(default=(), metadata={"of": Gap})
    last_offset: int | None = None
    last_leader_epoch: int | None = None
    last_timestamp_ms: int | None = None
    last_fingerprint: str | None = None
    topic_id: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def balances(self) -> bool:
        gaps = sum(gap.end - gap.start for gap in self.gaps)
        return self.rows + self.quarantined + self.duplicates + gaps == self.end - self.start


@dataclass(frozen=True, slots=True)
class DataFile:
    """One file of rows; `path` is relative to the table, `checksum` is `crc32c:` and 8 hex digits, event times are ms."""

    path: str
    format: str
    rows: int
    bytes: int
    checksum: str
    content_hash: str
    min_event_time_ms: int
    max_event_time_ms: int
    schema_ids: tuple[int, ...] = ()
    ranges: tuple[OffsetRange, ...] = field(default=(), metadata={"of": OffsetRange})
    merged_hash: str | None = field(default=None, metadata=_LEFT_OUT)
    """Of a compaction that brought rows under other columns: the sum of the content hashes of the files that it took out."""
    columns: str | None = field(default=None, metadata=_LEFT_OUT)
    """Fingerprint of its columns: files with the same one have the same names and types. None: of an earlier headrace."""
    bounds: Mapping[str, tuple[int, int]] | None = field(default=None, metadata=_LEFT_OUT)
    """Of its columns of times: the first and the last value, ms since 1970, rounded down; nulls have none."""
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WindowCount:
    """Records in one ten-minute window of Kafka time, or, with `until_ms`, in a span of them: all that is known of it."""

    window_start_ms: int
    count: int
    until_ms: int | None = field(default=None, metadata=_LEFT_OUT)
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def end_ms(self) -> int:
        return self.window_start_ms + WINDOW_MS if self.until_ms is None else self.until_ms


@dataclass(frozen=True, slots=True)
class Quarantine:
    """The file of a record's undecodable records, and when these were written (Kafka timestamps: they have no event time).

    A fold keeps the windows of all files as one sum, and none with the files. A compaction merges such files: it names those
    that it takes out in `remove`, and the one that it adds here, without windows.
    """

    path: str
    count: int
    windows: tuple[WindowCount, ...] = field(default=(), metadata={"of": WindowCount})
    content_hash: str | None = field(default=None, metadata=_LEFT_OUT)
    """Σ xxh64(line without its end) mod 2⁶⁴, in hex; None of files that an earlier headrace has written."""
    last_ms: int | None = field(default=None, metadata=_LEFT_OUT)
    """Of a merged file: when the newest of those that it was made of was written; of others the store knows."""
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AuditSum:
    """What a record lands of one agent in one window: `count`, `bytes`, `hash` of the rows (audit.md), `duplicates` dropped."""

    agent: str
    window_start_ms: int
    count: int
    bytes: int
    hash: str
    duplicates: int
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StreamLanded:
    """Positions of a stream that a record lands, as half-open intervals; the fold takes the union."""

    agent: str
    stream: str
    partition: int
    landed: tuple[tuple[int, int], ...]
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class JobInput:
    """What a run has read of one topic: a snapshot of its table, and the files that overlap the slice's time, as sums.

    `rows` and `content_hash` (hex) stay equal through compaction, so a reader of them sees whether rows came or went.
    """

    topic: str
    generation: int
    seq: int
    attempt: str | None
    rows: int
    content_hash: str
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Job:
    """The run of a job whose whole output a `replace` record is; the table's log is the ledger of what has run on what."""

    name: str
    version: str
    inputs: tuple[JobInput, ...] = field(default=(), metadata={"of": JobInput})
    options: Mapping[str, Any] = field(default_factory=dict, metadata=_LEFT_OUT)
    gate: Mapping[str, Any] | None = field(default=None, metadata=_LEFT_OUT)
    """What the audit said of the inputs when the run began; None where nobody asked."""
    since_ms: int | None = field(default=None, metadata=_LEFT_OUT)
    until_ms: int | None = field(default=None, metadata=_LEFT_OUT)
    """The time that the slice was of; None: of an earlier headrace."""
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CommitRecord:
    """One step of a table's history."""

    kind: str
    attempt: str
    loader: str
    created_ms: int
    ranges: tuple[LandedRange, ...] = field(default=(), metadata={"of": LandedRange})
    add: tuple[DataFile, ...] = field(default=(), metadata={"of": DataFile})
    remove: tuple[str, ...] = ()
    quarantine: Quarantine | None = field(default=None, metadata={"of": Quarantine})
    audit: tuple[AuditSum, ...] = field(default=(), metadata={"of": AuditSum})
    streams: tuple[StreamLanded, ...] = field(default=(), metadata={"of": StreamLanded})
    input: str | None = None
    arrow_schema: str | None = None
    next: int | None = field(default=None, metadata=_LEFT_OUT)
    """Of a fork or a close: the generation that is forked off, or that takes over."""
    keep: tuple[str, ...] = field(default=(), metadata=_LEFT_OUT)
    """Of a fork: the live files that both generations have; `add` are those of the next one alone."""
    state: Mapping[str, Any] | None = field(default=None, metadata=_LEFT_OUT)
    """Of a fork: what the next generation begins with beside its files, as a checkpoint says it."""
    ends: tuple[tuple[int, int, int], ...] = field(default=(), metadata=_LEFT_OUT)
    """Of a close: (incarnation, partition, offset) that the next generation has reached."""
    slice: str | None = field(default=None, metadata=_LEFT_OUT)
    """Of a replace: the directory, as `dt=2026-11-26`, whose files are all taken out for those of `add`."""
    replaces: str | None = field(default=None, metadata=_LEFT_OUT)
    """Of a replace: the attempt whose output the slice held; None if it held none."""
    job: Job | None = field(default=None, metadata={"of": Job, **_LEFT_OUT})
    """Of a replace: what has run."""
    generation: int = 1
    seq: int = 0
    prev: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def keeps_quarantine(self) -> tuple[str, ...]:
        """Of a fork: the quarantine files that both generations have."""
        found = () if self.state is None else self.state["quarantined"]
        own = self.quarantine.path if self.quarantine else None
        return tuple(one["path"] for one in found if one["path"] != own)

    @property
    def says_something(self) -> bool:
        """A record without rows, quarantine, duplicates or gaps is not written."""
        if self.kind in ("fork", "close", "replace"):  # that a slice has no rows is a result too
            return True
        return bool(self.add or self.remove or self.quarantine) or any(r.end > r.start for r in self.ranges)


def encode(record: CommitRecord) -> bytes:
    """The record as the bytes of its file."""
    return json.dumps({"version": VERSION, **as_json(record)}, separators=(",", ":")).encode()


def decode(data: bytes, where: str) -> CommitRecord:
    """Read a record; `where` names it in errors.

    Raises:
        VersionError: a newer version, or a kind of record that this version cannot fold.
        CorruptError: not a record.
    """
    try:
        body = json.loads(data)
        check_version(body, where)
        if body["kind"] not in KINDS:
            raise VersionError(f"{where} is a {body['kind']!r} record, which this headrace cannot fold: upgrade it")
        record: CommitRecord = from_json(CommitRecord, {key: value for key, value in body.items() if key != "version"})
        quarantined = (*record.keeps_quarantine, *((record.quarantine.path,) if record.quarantine else ()))
        if record.kind == "replace" and not (isinstance(record.slice, str) and isinstance(record.job, Job)):
            raise ValueError("it names no slice or no job")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptError(f"{where} is not a commit record: {error!r}") from error
    added = (file.path for file in record.add)
    for path in (*added, *record.remove, *record.keep, *quarantined, *filter(None, [record.slice])):
        names.checked_path(path)
    return record


def check_version(body: Mapping[str, Any], where: str, *, newest: int = VERSION) -> None:
    """Refuse what a newer headrace wrote (design D10)."""
    if body["version"] > newest:
        raise VersionError(f"{where} has version {body['version']}; this headrace reads up to {newest}: upgrade it")


def as_json(value: object) -> Any:
    """A dataclass of this module as plain JSON values, its unknown fields put back."""
    if isinstance(value, tuple):
        return [as_json(item) for item in value]
    if not dataclasses.is_dataclass(value):
        return value
    known = {
        one.key: as_json(of)
        for one in _fields(type(value)).all  # 0 is a time, and not nothing
        if (of := getattr(value, one.name)) or of == 0 or not one.is_left_out
    }
    return {**known, **getattr(value, "extra", {})}


def from_json(kind: type[T], body: Mapping[str, Any]) -> T:
    """The inverse of `as_json`; what `kind` does not know goes to its `extra`.

    Raises:
        KeyError, TypeError, AttributeError: it is none.
    """
    fields = _fields(kind)
    plain = [body[key] for key in fields.plain_keys]
    if not all(map(isinstance, plain, fields.plain_types)):
        raise TypeError(f"{dict(zip(fields.plain_keys, plain, strict=True))!r}"[:100])
    known = dict(zip(fields.plain_names, plain, strict=True))
    for name, key, of, types, is_required, _ in fields.others:
        value = body.get(key, _ABSENT)
        if value is _ABSENT:
            if is_required:
                raise KeyError(key)
            continue
        if of is not None or isinstance(value, list):
            value = _value(value, of)
        if types and not isinstance(value, types):
            raise TypeError(f"{key} is {value!r}"[:100])
        known[name] = value
    if len(known) < len(body):
        known["extra"] = {key: value for key, value in body.items() if key not in fields.keys}
    make: Callable[..., T] = kind
    return make(**known)


def _value(value: Any, of: type | None) -> Any:
    if isinstance(value, list):
        return tuple([_value(item, of) for item in value])  # a list is made in half the time of a generator
    return from_json(of, value) if of is not None and value is not None else value


class _Field(NamedTuple):
    """A field of a dataclass as JSON has it; `types`: what its value may be, of those that are numbers or texts."""

    name: str
    key: str
    of: type | None
    types: tuple[type, ...]
    is_required: bool
    is_left_out: bool


@dataclass(frozen=True)
class _Fields:
    """The fields of a dataclass. Most are required numbers and texts, which are read at once: tables have many files."""

    all: tuple[_Field, ...]
    plain_names: tuple[str, ...]
    plain_keys: tuple[str, ...]
    plain_types: tuple[tuple[type, ...], ...]
    others: tuple[_Field, ...]
    keys: frozenset[str]


_FIELDS: Final[dict[type, _Fields]] = {}


def _fields(kind: type) -> _Fields:
    if kind not in _FIELDS:
        _FIELDS[kind] = _fields_of(kind)
    return _FIELDS[kind]


def _fields_of(kind: Any) -> _Fields:
    known = tuple(
        _Field(
            f.name,
            f.metadata.get("key", f.name),
            f.metadata.get("of"),
            _plain_types(f.type),
            f.default is f.default_factory is dataclasses.MISSING,
            "left out" in f.metadata,
        )
        for f in dataclasses.fields(kind)
        if f.name != "extra"
    )
    plain = [one for one in known if one.is_required and one.types]
    return _Fields(
        known,
        tuple(one.name for one in plain),
        tuple(one.key for one in plain),
        tuple(one.types for one in plain),
        tuple(one for one in known if one not in plain),
        frozenset(one.key for one in known),
    )


def _plain_types(kind: Any) -> tuple[type, ...]:
    types = get_args(kind) if isinstance(kind, UnionType) else (kind,)
    return types if {int, str, NoneType}.issuperset(types) else ()

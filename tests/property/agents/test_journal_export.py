"""The journal's export format: what is written comes back however it is cut; any bytes end in entries or an error."""

import contextlib
import re

from hypothesis import given
from hypothesis import strategies as st

from headrace.agents.sources.journal_entries import pushed
from headrace.agents.sources.journal_export import (
    MOST_MESSAGE_BYTES,
    MOST_OTHERS_BYTES,
    MOST_VALUE_BYTES,
    Entry,
    ExportError,
    ExportReader,
)

_HALVES = re.compile("[\ud800-\udfff]")  # of surrogate pairs, which UTF-8 cannot hold
NAMES = st.sampled_from(
    ["MESSAGE", "PRIORITY", "_PID", "__CURSOR", "_HOSTNAME", "A", "LONG_" * 10, "SYSLOG_FACILITY", "SYSLOG_PID"]
)
ENTRIES = st.lists(st.lists(st.tuples(NAMES, st.binary(max_size=30)), min_size=1, max_size=6), max_size=4)
Fields = list[tuple[str, bytes]]


def encoded(fields: Fields) -> bytes:
    """As journalctl writes it."""
    out = b""
    for name, value in fields:
        if b"\n" in value or not value.isascii():
            out += name.encode() + b"\n" + len(value).to_bytes(8, "little") + value + b"\n"
        else:
            out += name.encode() + b"=" + value + b"\n"
    return out + b"\n"


def read(stream: bytes, cuts: list[int]) -> list[Entry]:
    reader = ExportReader()
    parts = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    return [entry for part in parts for entry in reader.feed(part)]


@given(ENTRIES, st.data())
def test_entries_come_back_however_the_stream_is_cut(written: list[Fields], data: st.DataObject) -> None:
    stream = b"".join(map(encoded, written))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    entries = read(stream, cuts)
    assert len(entries) == len(written)
    for entry, fields in zip(entries, written, strict=True):
        expected: dict[str, list[bytes]] = {}
        for name, value in fields:
            if name != "MESSAGE" or name not in expected:  # a second MESSAGE is not kept
                expected.setdefault(name, []).append(value)
        assert entry.fields["MESSAGE"][:1] == expected.pop("MESSAGE")[:1] if "MESSAGE" in expected else True
        assert {name: values for name, values in entry.fields.items() if name != "MESSAGE"} == expected


@given(st.one_of(st.binary(max_size=200), ENTRIES.map(lambda written: b"".join(map(encoded, written)))), st.data())
def test_any_bytes_are_entries_or_an_error(stream: bytes, data: st.DataObject) -> None:
    damaged = bytearray(stream)
    for _ in range(data.draw(st.integers(0, 4))):
        if damaged:
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ExportError):
        for entry in read(bytes(damaged), []):
            line = pushed(entry, 7, "journald://")
            assert not _HALVES.search("".join([*line.fields, *line.fields.values(), line.host or "", line.cursor]))


def test_what_is_kept_of_an_entry_is_bounded_and_what_is_left_out_is_told() -> None:
    big = b"x" * (5 << 20)
    fields = [
        ("COREDUMP", big + b"\n"),
        ("MESSAGE", big),
        *((f"F{number}", b"y" * 100_000) for number in range(20)),
        ("LAST", b"z"),
    ]
    reader = ExportReader()
    stream = encoded(fields)
    entries = []
    for start in range(0, len(stream), 65_536):
        entries += reader.feed(stream[start : start + 65_536])
        assert len(reader._held) < 100_000
    (entry,) = entries
    assert len(entry.fields["MESSAGE"][0]) == MOST_MESSAGE_BYTES
    assert len(entry.fields["COREDUMP"][0]) == MOST_VALUE_BYTES
    kept = sum(len(value) for values in entry.fields.values() for value in values)
    assert kept <= MOST_MESSAGE_BYTES + MOST_OTHERS_BYTES
    assert kept + entry.message_cut_bytes + entry.others_cut_bytes == sum(len(value) for _, value in fields)

"""What a spool holds, as an operator asks: read from its files and never opened as an agent does, which mends and cuts off.

An agent may run meanwhile: what it deletes while we read is passed over, and what it is just writing is the spool's end.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from headrace.agents.rows import SPOOLED, StreamRow
from headrace.agents.spool.frames import (
    FRAME_HEAD_BYTES,
    MAX_SEGMENT_HEAD_BYTES,
    FrameHead,
    base_of,
    decode_frame,
    decode_segment_head,
    find_mark,
    frame_head,
    is_whole,
)
from headrace.agents.spool.identity import Identity, identity_of
from headrace.errors import HeadraceError


@dataclass(slots=True)
class SpoolReport:
    """One spool: what its stream has shipped, and what is there.

    `state` is goes on, drains (no input fills it any more), damaged or gone. Numbers are of lines' bytes, as positions are;
    `oldest_ms` is when the oldest line was received that is not acknowledged (None: all are), wall time. `wrong`: lines that
    are not acknowledged cannot be read.
    """

    path: str
    topic: str = ""
    stream_id: str = ""
    position: int = 0
    end: int = 0
    size_bytes: int = 0
    frames: int = 0
    oldest_ms: int | None = None
    state: str = "goes on"
    wrong: bool = False
    why: str = ""

    @property
    def behind(self) -> int:
        return max(0, self.end - self.position)


def spool_reports(
    state_dir: Path, rows: Sequence[StreamRow], filled: frozenset[str] | None, *, check: bool
) -> list[SpoolReport]:
    """Every spool of an agent, and every stream whose spool is gone.

    Args:
        filled: paths of the spools that inputs of the configuration fill; None: not known.
        check: read every byte, and compare checksums.
    """
    folder = state_dir / "spool"
    found = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir()) if folder.is_dir() else []
    by_path = {row.path: row for row in rows if row.is_spooled}
    reports = []
    for name in found:
        row = by_path.pop(SPOOLED + name, None)
        report = _report(folder / name, SPOOLED + name, row, check=check)
        if report.state == "goes on" and filled is not None and report.path not in filled:
            report.state = "drains"
        reports.append(report)
    for row in by_path.values():
        wrong = row.size_seen > row.position
        reports.append(SpoolReport(row.path, row.topic, row.stream_id, row.position, row.size_seen, state="gone", wrong=wrong))
    return reports


def _report(place: Path, path: str, row: StreamRow | None, *, check: bool) -> SpoolReport:
    report = SpoolReport(path)
    try:
        identity = identity_of(place, None)
        if identity is None:
            return report  # begun by a start that ended before anything could be in it
        report.topic = identity.input.topic
        if row is not None and row.head == identity.spool_id:
            report.stream_id, report.position = row.stream_id, row.position
        _read(place, identity, report, check=check)
    except (HeadraceError, OSError) as error:
        report.state, report.wrong, report.why = "damaged", True, str(error)
    return report


def _read(place: Path, identity: Identity, report: SpoolReport, *, check: bool) -> None:
    segments = sorted((base, place / name) for name in os.listdir(place) if (base := base_of(name)) is not None)
    for index, (base, file) in enumerate(segments):
        is_last = index == len(segments) - 1
        try:
            data_bytes = file.stat().st_size
            with file.open("rb") as data:
                at, number = _read_segment(data.fileno(), data_bytes, identity.mark, base, report, check=check)
        except FileNotFoundError:
            continue  # all of it was acknowledged while we read
        report.size_bytes += data_bytes
        following = number if is_last else segments[index + 1][0]
        if following > max(number, report.position):
            report.state, report.wrong = "damaged", True
            report.why = f"{following - number} bytes of lines cannot be read at {at} of {file.name}"
        report.end = max(report.end, following)


def _read_segment(descriptor: int, size: int, mark: bytes, base: int, report: SpoolReport, *, check: bool) -> tuple[int, int]:
    """Count a segment's frames; where the last ends, and the number behind it."""
    head = decode_segment_head(os.pread(descriptor, MAX_SEGMENT_HEAD_BYTES, 0))
    at, number = (0 if head is None else head[0]), base
    for offset, frame in _frames(descriptor, size, at, mark, check=check):
        if frame.start > max(number, report.position):
            report.state, report.wrong = "damaged", True
            report.why = f"{frame.start - number} bytes of lines before {frame.start} cannot be read"
        at, number = offset + frame.size, frame.end
        report.frames += 1
        if report.oldest_ms is None and frame.end > report.position:
            report.oldest_ms = min(
                origin.received_ms for origin in decode_frame(os.pread(descriptor, frame.size, offset)).origins
            )
    return at, number


def _frames(descriptor: int, size: int, at: int, mark: bytes, *, check: bool) -> Iterator[tuple[int, FrameHead]]:
    """The frames of a segment; what is none is looked through for the next."""
    while at + FRAME_HEAD_BYTES <= size:
        head = frame_head(mark, os.pread(descriptor, FRAME_HEAD_BYTES, at))
        whole = head is not None and at + head.size <= size
        if head is not None and whole and (not check or is_whole(os.pread(descriptor, head.size, at), head)):
            yield at, head
            at += head.size
        else:
            at = find_mark(mark, lambda offset, length: os.pread(descriptor, length, offset), at + 1, size)

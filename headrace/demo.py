"""`headrace demo`: ship files (or made-up events) through real parts, wait until all has landed, and show it.

It starts what `headrace up` starts, as processes of their own on free ports, except that the agent is finite: it ships the
files as they are, says `finished` on `_audit`, and ends. The demo is over when the audit says complete; only then are the parts
stopped, in order. What counts is read back from the table and the audit, never from what the parts say of themselves.
"""

import argparse
import json
import os
import stat
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.errors import HeadraceError, UsageError
from headrace.process import data_directory, stop_event
from headrace.supervise import Layout, Supervisor, free_ports, only_supervisor
from headrace.up import add_security_argument, require_extra

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

MADE_UP_EVENTS = 50_000
_SEED = 2011
_POLL_S = 0.1
_ROWS_POLL_S = 0.5  # to read a table's log takes some ms of the cores that do the work
_COUNT_CHUNK_BYTES = 1 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of `headrace demo`."""
    parser.add_argument("files", nargs="*", metavar="FILE", help="log files to ship (default: made-up web access events)")
    parser.add_argument("--data", metavar="DIR", help="where everything is kept (default: a new temporary folder, kept)")
    add_security_argument(parser)
    parser.add_argument("--json", action="store_true", help="end with one line of JSON on stdout")
    parser.add_argument("--timeout", type=float, default=300, metavar="S", help="give up after so many seconds (default: 300)")


@dataclass(slots=True)
class _Shipment:
    """What is to be shipped, and how far it has come."""

    files: list[Path]
    ends: dict[tuple[int, int], int]  # by device and inode: up to which byte lines were counted (files may grow meanwhile)
    lines: int

    @property
    def size_bytes(self) -> int:
        return sum(self.ends.values())


def run(args: argparse.Namespace) -> int:
    """Ship, wait, stop, show; 0 only when everything has provably landed."""
    if not args.timeout > 0:  # nor is nan
        raise UsageError(f"--timeout {args.timeout:g}: give a number of seconds above 0")
    files = _checked(args.files)
    require_extra()
    stop = stop_event()
    root = Path(tempfile.mkdtemp(prefix="headrace-demo-")) if args.data is None else data_directory(args.data)
    layout = Layout(root)
    layout.make()
    with only_supervisor(layout):
        from rich.console import Console

        console = Console(stderr=True)
        shipment = _count(files or [_made_up(layout)])
        deadline = time.monotonic() + args.timeout
        started = time.monotonic()
        _ship(layout, shipment, console, secured=args.security == "on", deadline=deadline, stop=stop)
        elapsed_s = time.monotonic() - started
    return _show(layout, shipment, args, elapsed_s=elapsed_s)


def _checked(names: Sequence[str]) -> list[Path]:
    """The FILEs, each once, as absolute paths.

    Raises:
        UsageError: one is missing, unreadable, or not a regular file.
    """
    files: dict[tuple[int, int], Path] = {}
    for name in names:
        path = Path(name).absolute()
        try:
            status = path.stat()
            if stat.S_ISDIR(status.st_mode):
                raise UsageError(
                    f"{name or 'an empty name'} is a directory; name its files, as {name.rstrip('/') or '.'}/*.log"
                )
            if not stat.S_ISREG(status.st_mode):
                raise UsageError(f"{name} is not a regular file; the demo ships files that have an end")
            path.open("rb").close()
        except OSError as error:
            raise UsageError(f"{name}: {(error.strerror or str(error)).lower()}; name a file that can be read") from error
        files.setdefault((status.st_dev, status.st_ino), path)
    return list(files.values())


def _made_up(layout: Layout) -> Path:
    """A day of web access events, written once per data directory."""
    from headrace.access_events import access_log

    file = layout.root / "made-up" / "access.log"
    if not file.exists():
        file.parent.mkdir(exist_ok=True)
        yesterday = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
        temporary = file.with_suffix(".tmp")
        temporary.write_text("".join(f"{line}\n" for line in access_log(day=yesterday, count=MADE_UP_EVENTS, seed=_SEED)))
        temporary.rename(file)
    return file


def _count(files: list[Path]) -> _Shipment:
    """Count lines as interfaces.md defines them: each ends at a newline, and what follows the last newline is a line too."""
    from headrace.agents.tail.files import stat_of

    shipment = _Shipment(files, {}, 0)
    for path in files:
        size_bytes, last = 0, b"\n"
        with path.open("rb") as file:
            while chunk := file.read(_COUNT_CHUNK_BYTES):
                shipment.lines += chunk.count(b"\n")
                size_bytes += len(chunk)
                last = chunk[-1:]
        shipment.lines += last != b"\n"
        if (found := stat_of(str(path))) is not None:
            shipment.ends[found.key] = size_bytes
    return shipment


def _ship(
    layout: Layout, shipment: _Shipment, console: "Console", *, secured: bool, deadline: float, stop: threading.Event
) -> None:
    """Start the parts, wait until the audit is content, and stop them.

    Raises:
        HeadraceError: a part failed for good, the time is over, or the user stopped it.
    """
    from headrace import pipeline

    broker_port, registry_port = free_ports(2)
    supervisor = Supervisor(layout)
    broker = pipeline.broker_config(layout, port=broker_port, http_port=None, secured=secured)
    keys = pipeline.part_keys(broker, port=broker_port)
    supervisor.configure("broker", broker)
    supervisor.configure("registry", pipeline.registry_config(keys["registry"], port=registry_port))
    supervisor.configure("load", pipeline.load_config(layout, keys["load"], registry_port=registry_port, age="1s"))
    literal = [_as_glob(path) for path in shipment.files]
    agent = pipeline.agent_config(layout, literal, keys["agent"], registry_port=registry_port, decompress=False)
    supervisor.configure("agent", agent)  # what is shipped are the bytes that were counted
    try:
        for part in ("broker", "registry", "load"):
            supervisor.start(part)
        with _progress_file(layout).open("wb") as said, _progress(console) as progress:
            supervisor.start("agent", "--once", "--progress", stdout=said, finite=True)
            _watch(layout, supervisor, shipment, progress, deadline=deadline, stop=stop)
    finally:
        for line in supervisor.stop():
            _tell(console, line)
    if stop.is_set():
        raise HeadraceError(f"stopped; run it again with --data {layout.root} to go on")


def _as_glob(path: Path) -> str:
    """A pattern that matches this path alone, whatever letters are in its name."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in str(path))


def _progress_file(layout: Layout) -> Path:
    return layout.logs / "agent.progress"


def _acked_bytes(layout: Layout) -> int:
    """What the agent says of its own progress, whichever run of it spoke last; for the bar only."""
    with _progress_file(layout).open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 1000))
        lines = file.read().split(b"\n")[:-1]  # a last line without its newline is still being written
    try:
        return int(json.loads(lines[-1])["bytes"])
    except (IndexError, ValueError, KeyError):
        return 0


def _progress(console: "Console") -> "Progress":
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:<8}"), BarColumn(), TextColumn("{task.fields[so_far]:>16}"), TimeElapsedColumn())
    return Progress(*columns, console=console)


def _tell(console: "Console", message: str, style: str = "yellow") -> None:
    console.print(f"headrace demo: {message}", style=style, highlight=False, markup=False, soft_wrap=True)


def _watch(
    layout: Layout, supervisor: Supervisor, shipment: _Shipment, progress: "Progress", *, deadline: float, stop: threading.Event
) -> None:
    shipped = progress.add_task("shipped", total=shipment.size_bytes, so_far="")
    landed = progress.add_task("landed", total=shipment.lines, so_far="")
    agent = supervisor.children["agent"]
    rows_due_s = 0.0
    while not stop.wait(_POLL_S):
        if refusal := supervisor.refusal():
            raise HeadraceError(refusal)
        for line in supervisor.revive():
            _tell(progress.console, line)
        acked_bytes = _acked_bytes(layout)
        progress.update(shipped, completed=acked_bytes, so_far=f"{acked_bytes / 1e6:,.1f} MB")
        # Judged before the rows are counted, so that the bar ends with all of them.
        all_landed = agent.process.poll() == 0 and _is_complete(layout)
        if all_landed or time.monotonic() >= rows_due_s:
            rows = _landed_rows(layout)
            progress.update(landed, completed=min(rows, shipment.lines), so_far=f"{rows:,} rows")
            rows_due_s = time.monotonic() + _ROWS_POLL_S
        if all_landed:
            return
        if time.monotonic() > deadline:
            _tell(progress.console, "the time is over (--timeout); run it again with the same --data to go on", "red")
            return


def _is_complete(layout: Layout) -> bool:
    """Whether the audit is content; what it would have to read rows for is not, yet: the next message says that in full."""
    from headrace.jobs.audit.auditor import overall_verdict  # a second of imports, while the agent has the cores

    return overall_verdict(layout.landed, "logs", read_rows=False) == "complete"


def _landed_rows(layout: Layout) -> int:
    from headrace.sinks.table.reader import snapshot, tables

    return sum(file.rows for file in snapshot(layout.landed, "logs").files) if "logs" in tables(layout.landed) else 0


@dataclass(frozen=True, slots=True)
class _Result:
    """What the table log and the audit say afterwards."""

    lines: int
    landed: int
    quarantined: int
    duplicates: int
    files: list[str]
    audit: str


def _result(layout: Layout, shipment: _Shipment) -> _Result:
    from headrace.jobs.audit.auditor import overall_verdict
    from headrace.sinks.table.reader import snapshot, tables

    verdict = overall_verdict(layout.landed, "logs")
    if "logs" not in tables(layout.landed):
        return _Result(shipment.lines, 0, 0, 0, [], verdict)
    table = snapshot(layout.landed, "logs")
    files = [str(file.path) for file in table.files]
    quarantined = sum(found.count for found in table.quarantined)
    duplicates = sum(total.duplicates for total in table.audit.values())
    return _Result(shipment.lines, _landed_lines(layout, shipment, files), quarantined, duplicates, files, verdict)


def _landed_lines(layout: Layout, shipment: _Shipment, files: list[str]) -> int:
    """How many of the lines that were counted are in the table, whichever run landed them.

    They are the rows that begin a line before the end to which its file was counted.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.dataset as ds

    from headrace.agents.state import streams_of

    ends = {stream_id: shipment.ends[key] for key, stream_id in streams_of(layout.agent, shipment.ends).items()}
    if not files or not ends:
        return 0
    streams, bounds = pa.array(ends.keys()), pa.array(ends.values(), pa.int64())
    ours = (ds.field("part") == 0) & ds.field("stream_id").isin(streams)
    landed = 0
    for batch in ds.dataset(files).to_batches(columns=["stream_id", "position"], filter=ours):
        end = bounds.take(pc.index_in(batch.column("stream_id"), streams))
        landed += pc.sum(pc.less(batch.column("position"), end)).as_py() or 0
    return landed


def _show(layout: Layout, shipment: _Shipment, args: argparse.Namespace, *, elapsed_s: float) -> int:
    from headrace import demo_report

    result = _result(layout, shipment)
    demo_report.print_tree(layout)
    if result.landed:
        demo_report.print_answer(layout, made_up=not args.files)
    demo_report.print_audit(layout)
    pace = f"{shipment.size_bytes / 1e6:,.1f} MB in {elapsed_s:.1f} s, {result.landed / elapsed_s:,.0f} lines/s"
    print(f"\n{result.landed:,} of {result.lines:,} lines landed ({pace}); audit: {result.audit}")
    print(f"everything is kept in {layout.root}")
    if args.json:
        print(json.dumps(asdict(result)), flush=True)
    return 0 if result.audit == "complete" and result.landed == result.lines else 1

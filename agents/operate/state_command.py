"""`headrace agent state`: what the agent remembers of files and spools; whether it still holds; forgetting some of it."""

import argparse
import fnmatch
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from headrace.agents.operate.place import add_place, config_of
from headrace.agents.rows import SPOOLED
from headrace.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from headrace.agents.configuration import AgentConfig
    from headrace.agents.directory.folder import Folder
    from headrace.agents.operate.spool_check import SpoolReport
    from headrace.agents.rows import StreamRow
    from headrace.agents.tail.files import Globs

_LEAST_PREFIX = 8
_COLUMNS = ("topic", "path", "begin", "position", "size", "behind", "state", "last_complete", "stream_id")
_VERIFIED = ("topic", "path", "position", "size", "behind", "state", "last_complete", "why", "stream_id")
_SPOOL_COLUMNS = (
    "topic", "path", "position", "behind", "state", "frames", "disk_bytes", "oldest", "why", "stream_id",
)  # fmt: skip
_STYLES = {
    "drains": "dim", "damaged": "red",
    "goes on": "green", "repeats": "green", "new": "cyan", "left": "dim", "detached": "dim", "waits": "yellow",
    "passed over": "dim", "gone": "yellow", "changed": "yellow", "unreadable": "red", "done": "dim",
}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of `headrace agent state`."""
    verbs = parser.add_subparsers(dest="verb", metavar="list|verify|forget", required=True)
    told = {
        "list": "every stream: its file, how far it is acknowledged, how much is behind",
        "verify": "what a start would make of each stream and each file, by really reading them; exit 1 if bytes are missing",
        "forget": "forget streams, so that their files are shipped again from the beginning, as new ones",
    }
    for verb, what in told.items():
        each = verbs.add_parser(verb, help=what, description=what)
        add_place(each)
        each.add_argument("--format", choices=("table", "json"), default="table", help="default: %(default)s")
        if verb == "forget":
            each.add_argument("streams", nargs="+", metavar="STREAM|GLOB", help="ids, or beginnings of ids, or globs of paths")
            each.add_argument("--yes", action="store_true", help="do not ask")


def run(args: argparse.Namespace) -> int:
    """List, verify or forget."""
    from headrace.agents.operate.state_file import StateFile

    config = config_of(args)
    directory = args.state_dir if config is None else config.agent.state_dir
    state = StateFile(directory)
    if args.verb == "forget":
        return _forget(state, args)
    return _list(state, args, config) if args.verb == "list" else _verify(state, args, config)


def _list(state: Any, args: argparse.Namespace, config: "AgentConfig | None") -> int:
    from headrace.agents.operate.printing import counted

    rows, chunks = state.rows()
    repeated = {chunk.stream_id for chunk in chunks}
    files = [row for row in rows if not row.is_spooled]
    _print([_row(row, on_its_way=row.stream_id in repeated) for row in files], args.format, _COLUMNS)
    spools = _spools(state.directory, rows, config, check=False)
    _print_spools(spools, args.format)
    if args.format == "table":
        runs = "runs" if state.in_use() else "does not run"
        print(f"{counted(len(files), 'stream')} of files, {counted(len(spools), 'spool')}; agent {state.agent_id()} {runs}")
    return 0


def _spools(
    state_dir: "Path", rows: "Sequence[StreamRow]", config: "AgentConfig | None", *, check: bool
) -> "list[SpoolReport]":
    from headrace.agents.inputs import Inputs
    from headrace.agents.operate.spool_check import spool_reports
    from headrace.agents.spool.spools import Wanted

    filled = None
    if config is not None:
        inputs = Inputs.of(config)
        filled = frozenset(Wanted(name, inputs.how[name], each.spool.max_bytes).path for name, each in inputs.pushed.items())
    return spool_reports(state_dir, rows, filled, check=check)


def _print(rows: Sequence[dict[str, Any]], form: str, columns: Sequence[str]) -> None:
    """Rows; for people with as much of an id as `forget` takes, without the moments' zone, and `begin` where any has one."""
    from headrace.agents.operate.printing import print_rows

    if form == "table":
        rows = [{**row, "stream_id": (row["stream_id"] or "")[:_LEAST_PREFIX]} for row in rows]
        for name in {"last_complete", "oldest"}.intersection(columns):
            rows = [{**row, name: (row[name] or "").partition("+")[0].replace("T", " ")} for row in rows]
        if not any(row.get("begin") for row in rows):
            columns = [name for name in columns if name != "begin"]
    print_rows(rows, form, columns, _STYLES)


def _print_spools(spools: "Sequence[SpoolReport]", form: str) -> None:
    rows = [
        {
            "topic": each.topic, "path": each.path, "position": each.position, "size": each.end, "behind": each.behind,
            "state": each.state, "wrong": each.wrong, "why": each.why, "frames": each.frames, "disk_bytes": each.size_bytes,
            "oldest": _moment(each.oldest_ms or 0), "stream_id": each.stream_id or None,
        }
        for each in spools
    ]  # fmt: skip
    _print(rows, form, _SPOOL_COLUMNS)


def _row(row: "StreamRow", *, on_its_way: bool) -> dict[str, Any]:
    from headrace.agents.rows import DONE, PASSED, UNPLACED
    from headrace.agents.tail.files import stat_of
    from headrace.agents.tail.identity import is_gzip_name

    found = stat_of(row.path)
    own = found is not None and found.key == row.key
    is_content = row.dropped is not None or is_gzip_name(row.path)  # what is counted is not what the file system counts
    size = found.size if found is not None and own and not is_content else row.size_seen
    if row.dropped is not None and row.dropped.state == DONE:
        size = row.position
    return {
        "topic": row.topic,
        "partition": None if row.partition == UNPLACED else row.partition,
        "path": row.path,
        "begin": None if row.begin == PASSED else row.begin,
        "position": row.position,
        "size": size,
        "behind": max(0, row.size_seen if row.begin == PASSED else size - row.position),
        "state": _state(row, own=own),
        "on_its_way": on_its_way,
        "last_complete": _moment(row.complete_ms),
        "stream_id": row.stream_id,
        "device": row.device,
        "inode": row.inode,
    }


def _state(row: "StreamRow", *, own: bool) -> str:
    from headrace.agents.rows import PASSED, SHIPPING

    if row.dropped is not None and row.dropped.state != SHIPPING:
        return row.dropped.state
    if row.detached:
        return "detached"
    if not own:
        return "not under its name"
    return "passed over" if row.begin == PASSED else "goes on"


def _verify(state: Any, args: argparse.Namespace, config: "AgentConfig | None") -> int:
    import time

    from headrace.agents.effects import Now
    from headrace.agents.operate.printing import counted
    from headrace.agents.operate.state_check import verdicts
    from headrace.agents.operate.state_check_dropped import dropped_verdicts
    from headrace.process import raise_descriptor_limit

    raise_descriptor_limit()
    rows, chunks = state.rows()
    now = Now(time.monotonic_ns() // 1_000_000, time.time_ns() // 1_000_000)
    dropped = [row for row in rows if row.dropped is not None]
    found = [
        *verdicts(rows, chunks, _globs(rows, config), now),
        *dropped_verdicts(dropped, chunks, _folders(dropped, config), now),
    ]
    faults = state.faults()
    table = [
        {
            "topic": each.topic, "path": each.path, "position": each.position, "size": each.size, "behind": each.behind,
            "state": each.state, "wrong": each.wrong, "why": each.why,
            "last_complete": _moment(each.complete_ms) if each.state != "new" else None,
            "stream_id": each.stream_id if each.state != "new" else None,
        }
        for each in found
    ]  # fmt: skip
    _print(table, args.format, _VERIFIED)
    spools = _spools(state.directory, rows, config, check=True)
    _print_spools(spools, args.format)
    wrong = [each.behind for each in found if each.wrong] + [each.behind for each in spools if each.wrong]
    for fault in faults:
        print(f"the state's file is damaged: {fault}", file=sys.stderr)
    if args.format == "table":
        missing = sum(wrong)
        print(f"{len(found):,} streams and files, {counted(len(spools), 'spool')}; ", end="")
        print(f"{len(wrong):,} with unread bytes that are not there any more ({missing:,} bytes)")
        if state.in_use():
            print("the agent runs: what it has done since is not in this")
    return 1 if wrong or faults else 0


def _globs(rows: "Sequence[StreamRow]", config: "AgentConfig | None") -> "tuple[Globs, ...]":
    """The inputs' files; without a configuration those that the state knows."""
    import glob

    from headrace.agents.effects import Input
    from headrace.agents.inputs import Inputs
    from headrace.agents.tail.files import Globs

    if config is not None:
        return Inputs.of(config).globs
    rows = [row for row in rows if not row.is_spooled and row.dropped is None]
    topics = sorted({row.topic for row in rows})
    return tuple(
        Globs(tuple(sorted({glob.escape(row.path) for row in rows if row.topic == topic})), (), Input(topic))
        for topic in topics
    )


def _folders(rows: "Sequence[StreamRow]", config: "AgentConfig | None") -> "Sequence[Folder]":
    """The inputs' folders; without a configuration those of the files that the state knows."""
    import os

    from headrace.agents.directory.folder import Folder
    from headrace.agents.effects import Input
    from headrace.agents.inputs import Inputs

    if config is not None:
        return Inputs.of(config).folders
    places = sorted({(row.topic, os.path.dirname(row.path)) for row in rows})
    return [Folder(place, Input(topic)) for topic, place in places]


def _forget(state: Any, args: argparse.Namespace) -> int:
    from headrace.agents.operate.printing import counted, print_rows

    rows, _ = state.rows()
    chosen = [row for row in rows if any(_is_meant(row, word) for word in args.streams)]
    for word in args.streams:
        if not any(_is_meant(row, word) for row in rows):
            raise UsageError(f"{word}: no stream has that id or path; `headrace agent state list` shows them")
    if state.in_use():
        raise UsageError("an agent runs on this state; stop it first")
    if not args.yes:
        streams = counted(len(chosen), "stream")
        _print([_row(row, on_its_way=False) for row in chosen], "table", _COLUMNS)
        if not sys.stdin.isatty():
            raise UsageError(f"{streams} would be forgotten; say --yes where nobody can be asked")
        answer = input(f"Forget {streams}? What inputs match is shipped again from its beginning. [y/N] ")
        if answer.strip().lower() not in ("y", "yes"):
            return 1
    state.forget([row.stream_id for row in chosen])
    print_rows([{"stream_id": row.stream_id, "path": row.path} for row in chosen], args.format, ("stream_id", "path"))
    return 0


def _is_meant(row: "StreamRow", word: str) -> bool:
    if "/" in word or word.startswith(SPOOLED):
        return fnmatch.fnmatchcase(row.path, word)
    return row.stream_id == word or (len(word) >= _LEAST_PREFIX and row.stream_id.startswith(word))


def _moment(wall_ms: int) -> str | None:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(wall_ms / 1000, UTC).isoformat(timespec="seconds") if wall_ms else None

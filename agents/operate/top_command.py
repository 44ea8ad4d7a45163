"""`headrace agent top`: a running agent's inputs, by the second."""

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.agents.operate.place import add_place, directory_of
from headrace.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Group

    from headrace.agents.operate.rates import InputRates, View


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of `headrace agent top`."""
    add_place(parser)
    parser.add_argument("--once", action="store_true", help="one table, over one interval, and end")
    parser.add_argument("--interval", type=float, default=1.0, metavar="S", help="seconds between two looks (default: 1)")
    parser.add_argument("--format", choices=("table", "json"), default="table", help="default: %(default)s")


def run(args: argparse.Namespace) -> int:
    """Show it until interrupted, or once."""
    from headrace.agents.operate.asking import metrics_of

    if not args.interval > 0:
        raise UsageError(f"--interval {args.interval:g}: give a number of seconds above 0")
    directory = directory_of(args)
    before = metrics_of(directory)
    if args.once:
        view, _ = _next(directory, before, args.interval)
        _print(view, args.format)
        return 0
    try:
        if args.format == "json":
            _lines(directory, before, args.interval)
        else:
            _live(directory, before, args.interval)
    except KeyboardInterrupt:
        pass
    return 0


def _lines(directory: Path, before: dict[str, Any], interval_s: float) -> None:
    while True:
        view, before = _next(directory, before, interval_s)
        _print(view, "json")


def _live(directory: Path, before: dict[str, Any], interval_s: float) -> None:
    from rich.live import Live

    from headrace.agents.operate.printing import console

    with Live(console=console(), auto_refresh=False, screen=console().is_terminal) as live:
        while True:
            view, before = _next(directory, before, interval_s)
            live.update(_drawn(view), refresh=True)


def _next(directory: Path, before: dict[str, Any], interval_s: float) -> "tuple[View, dict[str, Any]]":
    from headrace.agents.operate.asking import metrics_of
    from headrace.agents.operate.rates import view_of

    time.sleep(interval_s)
    after = metrics_of(directory)
    return view_of(before, after), after


def _print(view: "View", form: str) -> None:
    if form == "json":
        print(json.dumps(view.values()), flush=True)
        return
    from headrace.agents.operate.printing import console

    console().print(_drawn(view))


def _drawn(view: "View") -> "Group":
    from rich.console import Group
    from rich.text import Text

    from headrace.agents.operate.printing import table_of

    head = Text.assemble(
        ("headrace agent ", "bold"), f"{view.version} on {view.host}, pid {view.pid}: ",
        f"{view.sent_per_s:,.0f} lines/s acknowledged ({_size(view.sent_bytes_per_s)}/s), "
        f"{_size(view.on_their_way_bytes)} on their way, memory {_size(view.memory_bytes)}, CPU {view.cpu_percent:.0f} %",
    )  # fmt: skip
    wrong = [_error(what, count) for what, count in view.errors.items() if count]
    wrong += [f"{_size(view.lost_bytes)} lost"] if view.lost_bytes else []
    stopped = sum(each.stopped_files for each in view.inputs)
    wrong += [f"{stopped:,} dropped files stopped"] if stopped else []
    unopened = sum(each.unopened_files for each in view.inputs)
    wrong += [f"{unopened:,} files wait to be opened"] if unopened else []
    wrong += [f"{view.rejected:,} records in rejected/"] if view.rejected else []
    wrong += [] if view.config_valid else ["the configuration file is invalid"]
    tail = Text("Since it began: " + "; ".join(wrong), style="red") if wrong else Text("No errors", style="green")
    rows = [_row(each) for each in view.inputs]
    columns = ("input", "kind", "lines/s", "bytes/s", "behind", "oldest", "files", "open", "spool")
    return Group(head, table_of(rows, columns, {}, right=("bytes/s", "behind", "oldest", "spool")), tail)


def _error(what: str, count: int) -> str:
    from headrace.agents.operate.printing import counted

    stage, _, kind = what.partition(": ")
    return f"{kind} while {stage}, {counted(count, 'time')}"


def _row(each: "InputRates") -> dict[str, Any]:
    spool = ""
    if each.buffer_bytes is not None:
        full = 100 * each.buffer_bytes // each.buffer_max_bytes if each.buffer_max_bytes else 0
        spool = f"{full} % full" if full else _size(each.buffer_bytes)
    return {
        "input": each.name, "kind": each.kind, "lines/s": round(each.events_per_s), "bytes/s": _size(each.bytes_per_s),
        "behind": _size(each.behind_bytes), "oldest": f"{each.oldest_unacknowledged_s:.1f} s", "files": each.streams,
        "open": each.open_files, "spool": spool,
    }  # fmt: skip


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:,.0f} {unit}" if unit == "B" else f"{count:,.1f} {unit}"
        count /= 1024
    raise AssertionError

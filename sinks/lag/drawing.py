"""A run of the loader, as a terminal shows it."""

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from headrace.sinks.lag import spoken
from headrace.sinks.lag.progress import Progress, Speed, TopicProgress, total

_BAR_CELLS = 30
_MARGIN = 4
"""Lines of the terminal that are left free of bars: the sum, what is left out, what fails, the cursor."""


def bars(progress: Progress, now_s: float, *, lines: int) -> RenderableType:
    """A bar for each topic of `--once`, as far as lines go: those with the most left come first; and the sum."""
    topics = progress.topics()
    if not topics:
        return Text("nothing to land" if progress.standings.goals is not None else "looking for topics …", style="dim")
    every = total(topics)
    speed = progress.speed(now_s, every.left)
    topics.sort(key=lambda one: (-one.left, one.topic))
    shown = topics[: max(1, lines - _MARGIN)]
    grid = Table.grid(padding=(0, 1))
    grid.add_column(overflow="ellipsis", no_wrap=True)
    grid.add_column(width=_BAR_CELLS)
    grid.add_column(justify="right", no_wrap=True)
    for one in shown:
        grid.add_row(Text(one.topic), ProgressBar(one.offsets, one.read, width=_BAR_CELLS), Text(_fraction(one)))
    rest = topics[len(shown) :]
    more = [Text(f"and {len(rest)} more topics: {_fraction(total(rest))}", style="dim", no_wrap=True)] if rest else []
    return Group(grid, *more, *_failing(progress), _sum(every, speed))


def _failing(progress: Progress) -> list[Text]:
    """A line, if tables fail."""
    why = progress.standings.why_not_all_land()
    return [] if why is None else [Text(why, style="red", no_wrap=True, overflow="ellipsis")]


def _fraction(one: TopicProgress) -> str:
    return f"{one.read:,} of {one.offsets:,}"


def _sum(every: TopicProgress, speed: Speed) -> Text:
    said = [f"{_fraction(every)} offsets read, {every.landed:,} landed", f"{speed.records_per_second:,.0f} records/s"]
    if every.left:
        said += [f"{spoken.duration(speed.seconds_left)} left"] if speed.seconds_left is not None else []
    elif every.landed < every.offsets:
        said.append("committing")
    return Text(" · ".join(said), no_wrap=True, overflow="ellipsis", style="bold")


def line(progress: Progress, now_s: float, now_ms: int) -> RenderableType:
    """What a loader without an end is at, in one line."""
    standings = progress.standings
    partitions = standings.partitions()
    backlogs = [backlog for _, standing in partitions if (backlog := standing.backlog()) is not None]
    commits = [table.last_commit_ms for table in standings.tables.copy().values() if table.last_commit_ms is not None]
    behind = sum(backlog.offsets for backlog in backlogs)
    oldest = max((backlog.seconds(now_ms) for backlog in backlogs), default=0.0)
    said = [f"{len({topic for (topic, _), _ in partitions})} topics, {len(partitions)} partitions"]
    said.append(f"{progress.speed(now_s, 0).records_per_second:,.0f} records/s")
    if backlogs:
        said.append(f"{behind:,} offsets to land" + (f", the oldest {spoken.duration(oldest)} old" if behind else ""))
    if commits:
        said.append(f"last commit {spoken.duration(max(0.0, (now_ms - max(commits)) / 1000))} ago")
    return Group(*_failing(progress), Text(" · ".join(said), no_wrap=True, overflow="ellipsis"))

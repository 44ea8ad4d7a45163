"""The agent's metrics, few and useful; no label per file, because files come and go."""

from prometheus_client import Counter, Gauge

from headrace.agents.state import ChunkResult

_lines = Counter("headrace_agent_lines", "Lines acknowledged by the broker", ["topic"])
_bytes = Counter("headrace_agent_line_bytes", "Bytes of the lines acknowledged by the broker", ["topic"])
_rejected = Counter("headrace_agent_rejected_records", "Records refused for good, kept in rejected/", ["topic"])
_lost = Counter("headrace_agent_lost_bytes", "Bytes seen in files that were destroyed before they were read")
_behind = Gauge("headrace_agent_behind_bytes", "Bytes known to be in files and not acknowledged yet")
_open_files = Gauge("headrace_agent_open_files", "Files held open")


class Metrics:
    """What the loop reports."""

    lost_bytes = _lost

    def count(self, result: ChunkResult) -> None:
        """A chunk was delivered."""
        _lines.labels(result.topic).inc(result.lines)
        _bytes.labels(result.topic).inc(sum(tally.bytes_total for tally in result.windows.values()))
        if result.rejected:
            _rejected.labels(result.topic).inc(sum(result.rejected.values()))

    def observe(self, *, behind_bytes: int, open_files: int) -> None:
        """How things stand."""
        _behind.set(behind_bytes)
        _open_files.set(open_files)

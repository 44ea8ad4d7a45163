"""Chunks that are ready: made durable together, then sent in order. Pure steps, the same for logs and for dropped files."""

from collections.abc import Sequence

from headrace.agents.effects import Note, Save, Send, Steps
from headrace.agents.events.lines import begins_utf_16
from headrace.agents.tail.reading import Planned, row_with_chunk
from headrace.agents.tail.stream import Stream


def send_planned(planned: Sequence[tuple[Stream, Planned]]) -> Steps[None]:
    """Save the rows of what is new, in one transaction, then send all of it."""
    fresh = [(stream, plan) for stream, plan in planned if not plan.repeat]
    if fresh:
        rows = tuple(row_with_chunk(stream, plan) for stream, plan in fresh)
        yield Save(rows, tuple(plan.chunk for _, plan in fresh))
        for (stream, _), row in zip(fresh, rows, strict=True):
            stream.row, stream.saved = row, True
    for stream, plan in fresh:
        if plan.chunk.start == 0 and begins_utf_16(plan.data):
            yield Note(
                "is UTF-16: each line is shipped as its bytes, for readers to decode; have it written as UTF-8", stream.path
            )
    for stream, plan in planned:
        if plan.repeat:
            stream.replay = stream.replay[1:]
        stream.sent(plan.chunk, plan.data, plan.after, plan.cost_bytes)
        stream.reached(stream.read_to)
        stream.shipped((yield Send(stream.row, plan.chunk, plan.data, stream.input.name if stream.input else "")))

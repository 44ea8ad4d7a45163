"""Fixtures of pushed inputs: what a peer sends, through the input's own framing, the spool's own format, and its own core."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import Field, field_validator

from headrace.agents.effects import Effect, Input, Now, ReadSpool, carry_out
from headrace.agents.operate.trial import trial_run
from headrace.agents.sources.intake import Pushed
from headrace.agents.spool.frames import MARK_BYTES, Records, decode_frame, encode_frame
from headrace.agents.spool.reader import SpoolReader, SpoolSeen
from headrace.config import Section

PATH: Final = "spool:fixture"


class PushedLine(Section):
    """A line, and what its protocol says beside it: an OTLP record's attributes, a journal's fields …"""

    line: str = Field(description="the line")
    host: str | None = Field(None, description="of the sender; by default the agent's")
    service: str | None = Field(None, description="of the sender; by default the input's")
    source: str = Field("fixture:", description="where it came from, as a URL")
    event_time: datetime | None = Field(None, description="the event's time as the protocol says it")
    fields: dict[str, str] = Field({}, description="fields beside the line; they win over those that the line is parsed into")

    @field_validator("event_time")
    @classmethod
    def _is_zoned(cls, value: datetime | None) -> datetime | None:
        return value if value is None or value.tzinfo is not None else value.replace(tzinfo=UTC)

    def pushed(self, received_ms: int) -> Pushed:
        """As a source puts it."""
        time_us = None if self.event_time is None else round(self.event_time.timestamp() * 1_000_000)
        return Pushed(self.line.encode(), received_ms, self.source, self.host, self.service, time_us, self.fields)


def records_of(pushed: Sequence[Pushed], service: str) -> Records:
    """As a spool gives them back."""
    return decode_frame(encode_frame(bytes(MARK_BYTES), 0, pushed, service=service))


def read_all(
    records: Records,
    how: Input,
    host: str,
    now: Now,
    do: Callable[[Effect], Any],
    take_sent: Callable[[], list[tuple[str, int]]],
) -> None:
    """Read a spool of these records by the agent's own core; `do` carries out all effects but the reading."""

    def carried_out(effect: Effect) -> Any:
        if not isinstance(effect, ReadSpool):
            return do(effect)
        begin = records.index_of(effect.start)
        found = records.part(begin, min(len(records.lines), begin + effect.most_lines))
        return found if found.lines else None

    reader = SpoolReader((), (), trial_run(now, host=host, once=True))
    carry_out(reader.look(now, [SpoolSeen(PATH, "fixture", how, 0, records.end)]), carried_out)
    while carry_out(reader.read(now), carried_out):
        for stream_id, start in take_sent():
            carry_out(reader.delivered(stream_id, start, None), carried_out)

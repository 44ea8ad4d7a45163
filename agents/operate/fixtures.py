"""Fixtures of `headrace agent test`: lines, and the events that a configuration is to make of them.

The lines are a file in memory, read by the agent's own core to its end and encoded by its own encoder; what comes out is
decoded again, as a consumer would. Time stands still at `read_time`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import Field, field_validator, model_validator

from headrace.agents.configuration import AgentConfig, InputSection
from headrace.agents.effects import Effect, Input, Listing, Now, Open, Opened, Read, Seen, Send, SendRecords, Stat, carry_out
from headrace.agents.events.encoder import ChunkEncoder
from headrace.agents.events.pipeline import compiled
from headrace.agents.inputs import Inputs
from headrace.agents.operate.decoding import decoded
from headrace.agents.operate.fixtures_came import Body, of_body, of_journal, of_messages
from headrace.agents.operate.fixtures_pushed import PushedLine, read_all, records_of
from headrace.agents.operate.trial import trial_run
from headrace.agents.sources.intake import Pushed
from headrace.agents.tail.identity import FileStat
from headrace.agents.tail.tailer import Tailer
from headrace.config import Section
from headrace.errors import ConfigError
from headrace.schemas.envelope import ENVELOPE_JSON

_HEADER: Final = b"\0\0\0\0\0"
_HANDLE: Final = 1
_OF_THE_RUN: Final = (
    "agent_id",
    "stream_id",
    "host",
    "read_time",
    "encoding",
    "since",
    "source",
    "service",
    "part",
    "position",
)


class Fixture(Section):
    """One test: lines in, events out."""

    name: str = Field(min_length=1, description="what it shows")
    input: str | None = Field(None, description="the input's name; may be left out where the configuration has one input")
    lines: str | list[str] | None = Field(None, description="a block of text, as the file holds it, or a list of lines")
    messages: list[str] | None = Field(None, min_length=1, description="of a syslog input: messages as they come on a stream")
    pushed: list[PushedLine] | None = Field(
        None, min_length=1, description="of any pushed input: lines, and what the protocol says beside each"
    )
    body: Body | None = Field(None, description="of an http input: what is posted to it")
    journal: str | None = Field(None, description="of a journald input: entries as `journalctl -o export` prints them")
    source: str = Field("/fixture/app.log", description="the file's path: its stem is `service` where the input names none")
    read_time: datetime = Field(datetime(2026, 1, 1, tzinfo=UTC), description="when the lines are read")
    expect: list[dict[str, Any]] | None = Field(None, description="the events, in order; of each the keys that are compared")
    left_out: int | None = Field(None, ge=0, description="how many lines are not sent: filtered, sampled, rate limited")

    @field_validator("read_time")
    @classmethod
    def _is_zoned(cls, value: datetime) -> datetime:
        return value if value.tzinfo is not None else value.replace(tzinfo=UTC)

    @model_validator(mode="after")
    def _has_one_content(self) -> "Fixture":
        if sum(each is not None for each in (self.lines, self.messages, self.pushed, self.body, self.journal)) != 1:
            raise ValueError("a test has one of lines, messages, pushed, body, journal")
        return self

    @property
    def data(self) -> bytes:
        """The file."""
        lines = self.lines or ""
        return (lines if isinstance(lines, str) else "".join(f"{line}\n" for line in lines)).encode()

    @property
    def read_ms(self) -> int:
        """When the lines are read, wall time."""
        return int(self.read_time.timestamp() * 1000)


class Fixtures(Section):
    """A file of them."""

    tests: list[Fixture] = Field(min_length=1)


@dataclass(slots=True)
class Outcome:
    """What became of a fixture's lines."""

    events: list[dict[str, Any]] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)


def outcome_of(fixture: Fixture, config: AgentConfig) -> Outcome:
    """Run the lines through the input's pipeline.

    Raises:
        ConfigError: there is no such input.
    """
    name, how = _input(fixture, config)
    run = _Run(fixture.data)
    now = Now(1_000, fixture.read_ms)
    host = config.agent.host or "host"
    if fixture.lines is None:
        section = Inputs.of(config).pushed.get(name)
        if section is None:
            raise ConfigError(f"test {fixture.name!r}: input {name} reads files; give the test `lines`")
        read_all(records_of(_pushed(fixture, section), how.service or name), how, host, now, run.do, run.take_sent)
        return run.outcome
    tailer = Tailer((), (), trial_run(now, host=host, once=True), max_open=16)
    carry_out(tailer.look(Listing(now, (Seen(fixture.source, run.stat, how, explicit=True),), frozenset({how.topic}))), run.do)
    while carry_out(tailer.read(now), run.do):
        for stream_id, start in run.take_sent():
            carry_out(tailer.delivered(stream_id, start, None), run.do)
    return run.outcome


def _pushed(fixture: Fixture, section: InputSection) -> list[Pushed]:
    """What the input's source would put into its spool."""
    if fixture.messages is not None:
        return of_messages(fixture.messages, section, fixture.read_ms, fixture.name)
    if fixture.body is not None:
        return of_body(fixture.body, section, fixture.read_ms, fixture.name)
    if fixture.journal is not None:
        return of_journal(fixture.journal, section, fixture.read_ms, fixture.name)
    return [each.pushed(fixture.read_ms) for each in fixture.pushed or ()]


def _input(fixture: Fixture, config: AgentConfig) -> tuple[str, Input]:
    """Which input it is of: its name, and how its lines are shipped."""
    inputs = Inputs.of(config).how
    if fixture.input is None and len(inputs) == 1:
        return next(iter(inputs.items()))
    if fixture.input not in inputs:
        asked = "say which input" if fixture.input is None else f"no input is named {fixture.input}"
        raise ConfigError(f"test {fixture.name!r}: {asked} (inputs: {', '.join(inputs)})")
    return fixture.input, inputs[fixture.input]


class _Run:
    """Carries out the core's effects on one file in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._encoder = ChunkEncoder("agent", _HEADER)
        self._sent: list[tuple[str, int]] = []
        self.stat = FileStat(1, 1, len(data), 1, 1)
        self.outcome = Outcome()

    def take_sent(self) -> list[tuple[str, int]]:
        sent, self._sent = self._sent, []
        return sent

    def do(self, effect: Effect) -> Any:
        match effect:
            case Open():
                return Opened(_HANDLE, self.stat)
            case Stat():
                return self.stat
            case Read():
                return self._data[effect.offset : effect.offset + effect.length]
            case Send() | SendRecords():
                if isinstance(effect, Send):
                    encoded = self._encoder.encode(effect.stream, effect.chunk, effect.data)
                else:
                    encoded = self._encoder.encode_records(effect.stream, effect.chunk, effect.records)
                self._sent.append((effect.chunk.stream_id, effect.chunk.start))
                schema = compiled(effect.chunk.pipeline).schema
                text = ENVELOPE_JSON if schema is None else schema.text
                self.outcome.events += [decoded(value, text) for value in encoded.values]
                misfits = Counter(f"rejected: {misfit.reason}" for misfit in encoded.misfits)
                for reason, count in (*encoded.left_out.items(), *misfits.items()):
                    self.outcome.left_out[reason] = self.outcome.left_out.get(reason, 0) + count
                return encoded.shipped
        return None


def shown(event: Mapping[str, Any]) -> dict[str, Any]:
    """An event as a fixture would expect it: what is of the lines, not of this run; no time where it is the read time."""
    of_lines = {key: plain(value) for key, value in event.items() if key not in _OF_THE_RUN}
    if of_lines.pop("event_time_source", None) == "read":
        of_lines.pop("event_time", None)
    return of_lines


def differences(fixture: Fixture, outcome: Outcome) -> tuple[list[str], list[str]] | None:
    """Expected and found, as lines to be compared; None where they are the same, or nothing was expected."""
    expected: list[dict[str, Any]] = [] if fixture.expect is None else [_plain_keys(each) for each in fixture.expect]
    found = [
        {key: plain(event.get(key)) for key in expected[index]} if index < len(expected) else shown(event)
        for index, event in enumerate(outcome.events)
    ]
    left_out = sum(outcome.left_out.values())
    same = fixture.expect is None or expected == found
    if same and fixture.left_out in (None, left_out):
        return None
    wanted, got = _lines(expected), _lines(found)
    if fixture.left_out is not None:
        wanted.append(f"left_out: {fixture.left_out}")
        got.append(f"left_out: {left_out}")
    return wanted, got


def _plain_keys(expected: Mapping[str, Any]) -> dict[str, Any]:
    return {key: plain(value) for key, value in expected.items()}


def plain(value: Any) -> Any:
    """A value as YAML and the envelope both write it: times in UTC, the values of fields as text."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, Mapping):
        return {str(key): _text(each) for key, each in sorted(value.items())}
    return value


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(plain(value))


def _lines(events: Sequence[Mapping[str, Any]]) -> list[str]:
    import yaml

    return str(yaml.safe_dump([dict(each) for each in events], sort_keys=True, allow_unicode=True, width=1000)).splitlines()

"""What a configuration may say of an input's lines: how they are parsed, and what is changed, left out or hidden of them."""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from headrace.agents.events.formats import format_of
from headrace.agents.events.patterns import pattern
from headrace.agents.events.pipeline import definition
from headrace.agents.events.transforms.function import digest_of, loaded
from headrace.agents.events.transforms.redaction import redaction_key
from headrace.agents.events.zones import local_time
from headrace.agents.multiline_keys import MultilineKeys
from headrace.config import Section
from headrace.config_faults import WrongKeys


def _checked_pattern(expression: str | None) -> str | None:
    if expression is not None:
        pattern(expression)
    return expression


class TimeKeys(Section):
    """An event's time, where it is not what a parser finds by itself."""

    field: str | None = Field(None, description="the field that holds it; by default the usual ones, or the line's start")
    formats: list[str] = Field(
        [],
        description="how it is written: strptime's directives, or epoch, epoch_ms, epoch_us, epoch_ns; the first that fits "
        "counts. By default the usual forms are recognised",
    )
    timezone: str = Field(
        "UTC", description="the zone of times that name none: a name as Europe/Zurich, or an offset as +02:00"
    )

    @field_validator("timezone")
    @classmethod
    def _zone(cls, timezone: str) -> str:
        local_time(timezone)
        return timezone

    @field_validator("formats")
    @classmethod
    def _formats(cls, formats: list[str]) -> list[str]:
        for form in formats:
            format_of(form, None)
        return formats


ParserName = Literal["auto", "json", "logfmt", "regex", "access", "syslog", "audit", "cri", "plain"]


class ParseKeys(Section):
    """How lines are read."""

    type: ParserName = Field(
        "auto",
        description="auto, json, logfmt, regex, access, syslog, audit, cri or plain; auto takes each line for what it is; "
        "`parse: NAME` says the same",
    )
    pattern: str | None = Field(None, description="of regex: an expression (RE2's syntax) whose named groups are the fields")
    content: Literal["json", "logfmt", "regex", "access"] | None = Field(
        None, description="of cri: how what the container wrote is read; by default it is field `log`"
    )
    time: TimeKeys = Field(TimeKeys.model_validate({}), description="where the event's time is, and how it is written")

    charset: str | None = Field(
        None,
        description="how lines are written that are not UTF-8, as gbk, shift_jis, windows-1252: the parser reads their text, "
        "which is field `text` beside the message",
    )

    _pattern = field_validator("pattern")(_checked_pattern)

    @field_validator("charset")
    @classmethod
    def _charset(cls, charset: str | None) -> str | None:
        try:
            if charset is None or ("\n".encode(charset) == b"\n" and bytes(range(256)).decode(charset, "replace")):
                return charset
        except (LookupError, ValueError):
            raise ValueError(f"no charset is called {charset!r}; take a name as gbk, shift_jis, windows-1252") from None
        raise ValueError(f"{charset} ends lines otherwise than with the byte 0x0A")

    @model_validator(mode="after")
    def _together(self) -> "ParseKeys":
        if (self.pattern is not None) != ("regex" in (self.type, self.content)):
            raise ValueError("regex needs a `pattern`, and nothing else has one; add it, or remove it")
        if self.pattern is not None and not pattern(self.pattern).groups:
            raise WrongKeys({"pattern": "it has no named groups; write (?P<name>…) around what becomes a field"})
        if self.content is not None and self.type != "cri":
            raise WrongKeys({"content": "it is for cri; remove it"})
        if self.type in ("syslog", "audit") and (self.time.field or self.time.formats):
            raise WrongKeys({"time": f"{self.type} says how its times are written; only `timezone` may be given"})
        return self

    def rule(self) -> dict[str, Any]:
        """The parser as it stands in a definition."""
        rule = self.model_dump(exclude_defaults=True) | {"type": self.type}
        return {name: value for name, value in rule.items() if value}


class Condition(Section):
    """What a line must be: its message, or one of its fields, matches or is equal."""

    field: str | None = Field(None, description="the field that is looked at; by default the message")
    pattern: str | None = Field(None, description="a regular expression (RE2's syntax) that matches anywhere in it")
    equals: str | list[str] | None = Field(None, description="a value, or a list of values, that it equals")

    _pattern = field_validator("pattern")(_checked_pattern)

    @model_validator(mode="after")
    def _one(self) -> "Condition":
        if (self.pattern is None) == (self.equals is None):
            raise ValueError("say `pattern` or `equals`")
        return self


class FilterKeys(Section):
    """Which lines are sent."""

    include: Condition | None = Field(None, description="only lines that meet this are sent")
    exclude: Condition | None = Field(None, description="lines that meet this are not sent")

    @model_validator(mode="after")
    def _some(self) -> "FilterKeys":
        if self.include is None and self.exclude is None:
            raise ValueError("say `include`, `exclude` or both")
        return self


class SampleKeys(Section):
    """A share of the lines."""

    keep: float = Field(gt=0, lt=1, description="the share that is sent")
    by: str | None = Field(
        None,
        description="a field: lines with the same value are all sent or none; by default, and without it, each line by itself",
    )


class RateLimitKeys(Section):
    """So many lines of each file or input a second."""

    lines_per_second: float = Field(
        gt=0, allow_inf_nan=False, description="how many lines a second are sent on average, of each file or input"
    )
    burst: int | None = Field(None, ge=1, description="how many may be sent at once; by default those of a second")


class RedactKeys(Section):
    """What is hidden, in the message and in all fields."""

    email: bool = Field(False, description="hide e-mail addresses")
    card: bool = Field(False, description="hide numbers that may be of payment cards: 13 to 19 digits with their check digit")
    patterns: list[str] = Field([], description="regular expressions (RE2's syntax): hide what they match")
    secret: str | None = Field(
        None,
        min_length=16,
        description="leave a hash keyed by this (`${env:NAME}`, `${file:/path}`) in place; by default nothing is",
    )

    @field_validator("patterns")
    @classmethod
    def _patterns(cls, patterns: list[str]) -> list[str]:
        for each in patterns:
            pattern(each)
        return patterns

    @model_validator(mode="after")
    def _something(self) -> "RedactKeys":
        if not (self.email or self.card or self.patterns):
            raise ValueError("say what to hide: `email: true`, `card: true`, `patterns: [...]`")
        return self


class TransformKeys(Section):
    """One step: exactly one of these."""

    add: dict[str, str] | None = Field(None, description="fields to set")
    rename: dict[str, str] | None = Field(None, description="fields to rename, old name: new name")
    drop: list[str] | None = Field(None, description="fields to leave out")
    filter: FilterKeys | None = Field(None, description="which lines are sent")
    sample: SampleKeys | None = Field(None, description="send a share of the lines")
    rate_limit: RateLimitKeys | None = Field(None, description="send so many lines a second")
    redact: RedactKeys | None = Field(None, description="hide what must not leave the host")
    python: str | None = Field(
        None,
        description="a function of yours, module:function or /path/to/file.py:function: event (a dict) in, event or None out",
    )

    @field_validator("python")
    @classmethod
    def _function(cls, name: str | None) -> str | None:
        if name is not None:
            loaded(name, digest_of(name))
        return name

    @model_validator(mode="after")
    def _one(self) -> "TransformKeys":
        if len(self.model_fields_set) != 1 or None in self.step().values():
            raise ValueError(f"a step is one of {', '.join(type(self).model_fields)}; begin the next one with another `-`")
        return self

    def step(self) -> dict[str, Any]:
        """The step as it stands in a definition."""
        step = self.model_dump(exclude_unset=True, exclude_none=True)
        for rule in step.get("filter", {}).values():
            if isinstance(rule.get("equals"), str):
                rule["equals"] = [rule["equals"]]
        if (limit := step.get("rate_limit")) is not None:
            limit.setdefault("burst", max(1, round(limit["lines_per_second"])))
        if (secret := step.get("redact", {}).pop("secret", None)) is not None:
            step["redact"]["key"] = redaction_key(secret)
        if self.python is not None:
            step["python"] = {"function": self.python, "digest": digest_of(self.python)}
        return step


class PipelineKeys(Section):
    """What becomes of an input's lines."""

    parse: ParseKeys = Field(
        ParseKeys.model_validate({}),
        description="how lines are read: a parser's name, or a mapping with its `type` and what it takes",
    )
    transforms: list[TransformKeys] = Field([], description="what is changed or left out, step by step, in this order")

    max_line_bytes: int = Field(512 * 1024, ge=16, le=800_000, description="a longer line is shipped as several parts")
    multiline: MultilineKeys | None = Field(None, description="which lines are one event; by default each is")

    @field_validator("parse", mode="before")
    @classmethod
    def _by_name(cls, parse: Any) -> Any:
        return {"type": parse} if isinstance(parse, str) else parse

    @field_validator("transforms")
    @classmethod
    def _one_limit(cls, transforms: list[TransformKeys]) -> list[TransformKeys]:
        if sum(each.rate_limit is not None for each in transforms) > 1:
            raise ValueError("there are two rate limits; say `rate_limit` once")
        return transforms

    @property
    def pipeline(self) -> str:
        """The definition (events/pipeline.py)."""
        return definition(
            parse=self.parse.rule(),
            transforms=[each.step() for each in self.transforms],
            multiline=self.multiline.step(self.max_line_bytes) if self.multiline is not None else None,
        )

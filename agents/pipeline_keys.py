"""What a configuration may say of an input's lines: how they are parsed, and what is changed, left out or hidden of them."""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from headrace.agents.events.patterns import pattern
from headrace.agents.events.pipeline import definition
from headrace.config import Section


def _checked_pattern(expression: str | None) -> str | None:
    if expression is not None:
        pattern(expression)
    return expression


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

    lines_per_second: float = Field(gt=0, description="how many lines a second are sent on average, of each file or input")
    burst: int | None = Field(None, ge=1, description="how many may be sent at once; by default those of a second")


class TransformKeys(Section):
    """One step: exactly one of these."""

    add: dict[str, str] | None = Field(None, description="fields to set")
    rename: dict[str, str] | None = Field(None, description="fields to rename, old name: new name")
    drop: list[str] | None = Field(None, description="fields to leave out")
    filter: FilterKeys | None = Field(None, description="which lines are sent")
    sample: SampleKeys | None = Field(None, description="send a share of the lines")
    rate_limit: RateLimitKeys | None = Field(None, description="send so many lines a second")

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
        return step


class PipelineKeys(Section):
    """What becomes of an input's lines."""

    parse: Literal["auto", "json", "access", "syslog", "plain"] = Field(
        "auto", description="auto, json, access, syslog or plain; auto tries them line by line"
    )
    transforms: list[TransformKeys] = Field([], description="what is changed or left out, step by step, in this order")

    @field_validator("transforms")
    @classmethod
    def _one_limit(cls, transforms: list[TransformKeys]) -> list[TransformKeys]:
        if sum(each.rate_limit is not None for each in transforms) > 1:
            raise ValueError("say `rate_limit` once")
        return transforms

    @property
    def pipeline(self) -> str:
        """The definition (events/pipeline.py)."""
        return definition(parse={"type": self.parse}, transforms=[each.step() for each in self.transforms])

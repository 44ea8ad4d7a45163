"""The `multiline` section of an input: which of its lines are one event (events/multiline.py)."""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from headrace.agents.events.patterns import pattern
from headrace.config import Section


class MultilineKeys(Section):
    """Lines that are one event: stack traces by their form, or any lines by a pattern."""

    traces: list[Literal["python", "java", "go"]] = Field(
        [], description="stack traces to keep together: python, java, go; a trace begins at its own first line"
    )
    start: str | None = Field(
        None,
        description="a pattern (RE2) that the first line of an event matches; all others go on with the event before",
    )
    continue_: str | None = Field(
        None,
        alias="continue",
        description="a pattern (RE2) that a line matches which goes on with the event before",
    )
    timeout_ms: int = Field(
        1000, ge=0, le=3_600_000, description="how long the last event of a file that is not written to waits for more lines"
    )
    max_lines: int = Field(1000, ge=2, le=100_000, description="a longer event is shipped as several")
    max_bytes: int | None = Field(
        None, ge=64, description="a longer event is shipped as several; by default, and at most, max_line_bytes"
    )

    @field_validator("start", "continue_")
    @classmethod
    def _compiles(cls, expression: str | None) -> str | None:
        if expression is not None:
            pattern(expression)
        return expression

    @model_validator(mode="after")
    def _says_which(self) -> "MultilineKeys":
        if self.start is not None and (self.traces or self.continue_ is not None):
            raise ValueError("give start, or traces and continue: with start, every other line goes on with the event before")
        if self.start is None and self.continue_ is None and not self.traces:
            raise ValueError("say which lines are one event: traces, start or continue")
        return self

    def step(self, max_line_bytes: int) -> dict[str, Any]:
        """What a pipeline's definition says of it."""
        patterns = {"start": self.start, "continue": self.continue_}
        return {
            "traces": sorted(set(self.traces)),
            "timeout_ms": self.timeout_ms,
            "max_lines": self.max_lines,
            "max_bytes": min(self.max_bytes or max_line_bytes, max_line_bytes),
            **{name: pattern for name, pattern in patterns.items() if pattern is not None},
        }

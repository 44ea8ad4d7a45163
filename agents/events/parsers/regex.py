"""A user's expression (RE2's): its named groups are the fields."""

from headrace.agents.events.parsers.parser import Attempt, Parsed
from headrace.agents.events.patterns import pattern, utf8
from headrace.agents.events.times import Times


def regex(expression: str, times: Times) -> Attempt:
    """The expression may match anywhere in the line, which ends before a `\\r`; groups that took no part are left out."""
    named = pattern(expression).named

    def attempt(text: str, read_time_us: int) -> Parsed | None:
        fields = named(utf8(text.removesuffix("\r")))
        return None if fields is None else (times.in_fields(fields, read_time_us), fields)

    return attempt

"""What all parsers share: their form, and what becomes of a line that one does not understand."""

from collections.abc import Callable
from dataclasses import dataclass

from headrace.agents.events.parsers.bare import bare
from headrace.agents.events.times import Times

Parsed = tuple[int | None, dict[str, str]]
Parser = Callable[[str, int], Parsed]
# Like a parser, but None where it does not understand the line.
Attempt = Callable[[str, int], Parsed | None]

PARSE_ERROR = "parse_error"


@dataclass(frozen=True, slots=True)
class Unparsed:
    """Makes a parser of an attempt: what that does not understand is plain text, and says so.

    `silent`: as pipelines of version 1 do, it does not, and what is around a line is not taken away.
    """

    times: Times
    silent: bool = False

    def otherwise(self, attempt: Attempt, reason: str) -> Parser:
        fields = {} if self.silent else {PARSE_ERROR: reason}
        at_start = self.times.at_start

        def parse(text: str, read_time_us: int) -> Parsed:
            return attempt(text, read_time_us) or (at_start(text, read_time_us), dict(fields))

        def parse_bare(text: str, read_time_us: int) -> Parsed:
            parsed = attempt(text, read_time_us)
            if parsed is None and (alone := bare(text)) != text:
                return parse(alone, read_time_us)
            return parsed or (at_start(text, read_time_us), dict(fields))

        return parse if self.silent else parse_bare

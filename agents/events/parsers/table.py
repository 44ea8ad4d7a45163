"""From the definition of a parser to the parser."""

from collections.abc import Mapping
from typing import Any

from headrace.agents.events.parsers.access import access_log
from headrace.agents.events.parsers.audit import audit
from headrace.agents.events.parsers.bare import BEGINNINGS, bare
from headrace.agents.events.parsers.container import cri
from headrace.agents.events.parsers.json_object import json_object
from headrace.agents.events.parsers.logfmt import logfmt
from headrace.agents.events.parsers.parser import PARSE_ERROR, Attempt, Parsed, Parser, Unparsed
from headrace.agents.events.parsers.regex import regex
from headrace.agents.events.parsers.syslog import rsyslog_file, syslog
from headrace.agents.events.times import Times, times_of

_REASONS = {
    "json": "not a JSON object",
    "logfmt": "not logfmt",
    "regex": "the pattern does not match",
    "access": "not an access log line",
    "syslog": "not syslog",
    "audit": "not a line of the audit daemon",
    "cri": "not a line of a container runtime",
}
_NEVER_FIRST = ("[", " ", "\t", "")  # of what `auto` knows
_NO_TIME = "no time where the configuration says"


def parser_of(rule: Mapping[str, Any], version: int) -> Parser:
    """A definition's parser.

    Args:
        rule: `type`, and what it takes: `pattern` (regex), `content` (cri), `time`.
        version: of the pipeline's definition.
    Raises:
        ValueError: a pattern, a format or a zone is none.
    """
    times, kind = times_of(rule.get("time"), version), rule["type"]
    if kind == "auto":
        parse = _auto(times) if version >= 2 else _auto_1(times)
    elif kind == "plain":
        parse = _plain(times)
    else:
        unparsed = Unparsed(times, silent=version < 2)
        parse = unparsed.otherwise(_attempt(kind, rule, times, version), _REASONS[kind])
    return _timed(parse) if times.asked else parse


def _attempt(kind: str, rule: Mapping[str, Any], times: Times, version: int) -> Attempt:
    match kind:
        case "json":
            return json_object(times)
        case "logfmt":
            return logfmt(times)
        case "regex":
            return regex(rule["pattern"], times)
        case "access":
            return access_log(times, with_site=version >= 2)
        case "audit":
            return audit(times)
        case "syslog":
            return syslog(times, with_local=version >= 2)
        case "cri":
            inner = rule.get("content")
            return cri(times, None if inner is None else _attempt(inner, rule, times, version))
    raise AssertionError(f"no parser is called {kind}")


def _plain(times: Times) -> Parser:
    at_start = times.at_start

    def parse(text: str, read_time_us: int) -> Parsed:
        return at_start(text, read_time_us), {}

    return parse


def _auto(times: Times) -> Parser:
    """Whatever the line is: a JSON object, syslog, an access log, logfmt, else plain; so nothing is in error."""
    json, access, at_start = json_object(times), access_log(times), times.at_start
    system, written, pairs = syslog(times), rsyslog_file(times), logfmt(times, only_pairs=True)
    audited = audit(times)

    def parse(text: str, read_time_us: int) -> Parsed:
        first = text[:1]
        parsed = None
        if first == "{":
            parsed = json(text, read_time_us) or json(bare(text), read_time_us)
        elif "0" <= first <= "9":
            parsed = written(text, read_time_us) or access(text, read_time_us)
        elif first == "<":
            parsed = system(text, read_time_us)
        elif "a" <= first <= "z" or "A" <= first <= "Z":
            if text.startswith(("type=", "node=")):
                parsed = audited(text, read_time_us)
            elif first <= "Z":
                parsed = system(text, read_time_us)
            parsed = parsed or access(text, read_time_us) or pairs(text, read_time_us)
        elif first in BEGINNINGS and (alone := bare(text)) != text:
            return parse(alone, read_time_us)
        elif first not in _NEVER_FIRST:
            parsed = access(text, read_time_us) or pairs(text, read_time_us)
        return parsed or (at_start(text, read_time_us), {})

    return parse


def _auto_1(times: Times) -> Parser:
    """As version 1 had it: a JSON object, an access log, syslog as it is sent, else plain."""
    json, system, access = json_object(times), syslog(times, with_local=False), access_log(times, with_site=False)
    at_start = times.at_start

    def parse(text: str, read_time_us: int) -> Parsed:
        first = text[:1]
        if first == "{":
            return json(text, read_time_us) or (at_start(text, read_time_us), {})
        if first == "<" or "A" <= first <= "Z":
            parsed = system(text, read_time_us)
            if parsed is not None:
                return parsed
        if first not in ("[", "<"):
            parsed = access(text, read_time_us)
            if parsed is not None:
                return parsed
        return at_start(text, read_time_us), {}

    return parse


def _timed(parse: Parser) -> Parser:
    """Says so where a line has no time, though the user said where it is."""

    def timed(text: str, read_time_us: int) -> Parsed:
        event_time_us, fields = parse(text, read_time_us)
        if event_time_us is None:
            fields.setdefault(PARSE_ERROR, _NO_TIME)
        return event_time_us, fields

    return timed

"""A JSON object a line: its members are the fields, what is deeper stays JSON text."""

import json
from typing import Any

from headrace.agents.events.parsers.parser import Attempt, Parsed
from headrace.agents.events.times import Times


def json_object(times: Times) -> Attempt:
    def attempt(text: str, read_time_us: int) -> Parsed | None:
        try:
            members = json.loads(text)
        except (ValueError, RecursionError):  # ValueError also for integers of thousands of digits
            return None
        if not isinstance(members, dict):
            return None
        fields = {name: _text(value) for name, value in members.items() if value is not None}
        return times.in_fields(members, read_time_us), fields

    return attempt


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

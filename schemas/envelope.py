"""The envelope: the Avro schema of every event that our agents ship (interfaces.md, The envelope).

`message` is the whole line without its final newline, changed by no parser; `message.encode(encoding)` gives back its bytes.
`(agent_id, stream_id, position, part)` names an event for ever (audit.md).
"""

import json
from typing import Final, cast

_MICROS: Final = {"type": "long", "logicalType": "timestamp-micros"}

ENVELOPE: Final[dict[str, object]] = {
    "type": "record",
    "name": "Event",
    "namespace": "headrace",
    "doc": "One line of a log, or one part of a line longer than max_line_bytes.",
    "fields": [
        {
            "name": "event_time",
            "type": _MICROS,
            "doc": "When it happened, by the line itself, or else the read time.",
        },
        {
            "name": "event_time_source",
            "type": "string",
            "doc": "line, or read where the line has no plausible time.",
        },
        {"name": "read_time", "type": _MICROS, "doc": "When the agent read it; also the Kafka timestamp."},
        {"name": "agent_id", "type": "string"},
        {"name": "stream_id", "type": "string", "doc": "One incarnation of a file or input."},
        {
            "name": "position",
            "type": "long",
            "doc": "Byte offset of the first byte of the line, or of this part of it.",
        },
        {"name": "since", "type": "long", "doc": "Where the stream's previous shipped record ended."},
        {"name": "part", "type": "int", "doc": "0, or the number of the later part of a split line."},
        {"name": "host", "type": "string"},
        {"name": "service", "type": "string"},
        {"name": "source", "type": "string", "doc": "The path or the input it came from."},
        {"name": "message", "type": "string"},
        {"name": "encoding", "type": "string", "doc": "utf-8 or iso-8859-1."},
        {
            "name": "fields",
            "type": {"type": "map", "values": "string"},
            "doc": "What the parser found in the line.",
        },
    ],
}

ENVELOPE_JSON: Final = json.dumps(ENVELOPE)

_FIXED = [each for each in cast("list[dict[str, object]]", ENVELOPE["fields"]) if each["name"] != "fields"]
HEAD: Final[dict[str, object]] = {**ENVELOPE, "fields": _FIXED}
"""What the envelope and every typed schema begin with: a reader of it reads any event of ours, and leaves the rest."""

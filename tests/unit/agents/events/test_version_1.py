"""A state of version 1 names pipelines of version 1: what was in flight is encoded as that version did, in every byte."""

import hashlib
from pathlib import Path

import pytest

from headrace.agents.events.encoder import ChunkEncoder
from headrace.agents.events.pipeline import definition
from headrace.agents.rows import ChunkRow, StreamRow

STREAM = StreamRow("s-1", "logs", 3, "host-1", "web", "/var/log/web.log", "/var/log/web.log", 1, 2, 0)
LINES = Path(__file__).parent / "lines_of_version_1.bin"  # of all its formats, whole, cut short and mixed


@pytest.mark.parametrize(
    ("parser", "digest"),
    [  # of what version 1 made of the lines
        ("auto", "1380f541290c7ed50e505bafd6576fd9"),
        ("json", "4b7ba3e9bfd800b15f8202aea2fdf4c8"),
        ("access", "7b59447c16832f7373a3116637bceaf9"),
        ("syslog", "9d9b942f4a7388006679f0f330f62d36"),
        ("plain", "daf78b25e41577ae5df92b6348209838"),
    ],
)
def test_pipelines_of_version_1_say_what_they_said(parser: str, digest: str) -> None:
    data = LINES.read_bytes()
    pipeline = definition(version=1, parse={"type": parser})
    row = ChunkRow("s-1", 7, 7 + len(data), 7, 7, 1_795_424_400_123, pipeline, 100, "")
    values = ChunkEncoder("agent-1", b"\0\0\0\0\7").encode(STREAM, row, data).values
    assert hashlib.sha256(b"".join(values)).hexdigest()[:32] == digest

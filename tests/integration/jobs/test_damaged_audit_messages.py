"""Whatever lies in `_audit` beside what agents say, a verdict is given, and what is no message of theirs has no say."""

import json
import random

import pytest

from headrace.audit import RetiredMessage
from headrace.cli import main
from headrace.jobs.audit.auditor import Auditor
from tests.landed_tables import TEXT, Event, TableWriter, announce

T0 = 1_763_900_400_000
AT = T0 + 9_000_000
EVENTS = [Event("a", n * 30, T0 + n * 45_000) for n in range(60)]
SAID = [(message.key.encode(), message.encode()) for _, message in announce("logs", EVENTS, AT, acked={0: 60})]
SAID.append((RetiredMessage("b", T0).key.encode(), RetiredMessage("b", T0).encode()))
ODD = (
    None,
    True,
    -1,
    1.5,
    1 << 70,
    1e300,
    "",
    "\ud800",
    "\x1b[31m\x00",
    "99999999999999999999",
    [],
    {},
    {"": -1},
    [[]],
    {"logs": None},
)
DEEP = ["[" * 100_000, '{"version":' * 100_000, "", "null", "[1]", '"text"', "\ufeff{}", '{"version": 1}', '{"version": NaN}']


def land(root, pairs):
    rows = [{"_key": key, "value": value, "_timestamp": AT + n} for n, (key, value) in enumerate(pairs)]
    TableWriter(root, "_audit", TEXT).land(rows)


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "landed"
    root.mkdir()
    TableWriter(root, "logs").land_events(EVENTS)
    land(root, [(key, value.decode()) for key, value in SAID])
    return root


def other(source, value):
    """A JSON value with something in it changed."""
    if isinstance(value, dict) and value and source.random() < 0.8:
        key = source.choice(list(value))
        changed = {**value, key: other(source, value[key])}
        return changed if source.random() < 0.9 else {name: of for name, of in changed.items() if name != key}
    return source.choice(ODD)


def mutated(source):
    key, value = source.choice(SAID)
    parts = key.decode().split("/")
    if source.random() < 0.3:
        parts[source.randrange(1, len(parts))] = source.choice(["", "-" + "9" * 30, "9" * 5000, "\u0661", "x\x00", "a" * 9000])
    text = json.dumps(other(source, json.loads(value)))
    if source.random() < 0.3:
        text = text[: source.randrange(len(text))] + source.choice(["", "}", "\x00"]) + text[source.randrange(len(text)) :]
    return "/".join(parts).encode("utf-8", "surrogatepass"), text


def test_no_message_breaks_the_audit(root, capsys):
    for seed in range(8):
        source = random.Random(seed)
        land(root, [one for one in (mutated(source) for _ in range(150)) if not is_newer(one[1])])
        for format_ in ("table", "json", "csv"):
            assert main(["audit", "--root", str(root), "--format", format_]) == 0
        assert main(["audit", "agents", "--root", str(root)]) == 0
    capsys.readouterr()


def is_newer(text):
    """A newer version is refused, as it should be."""
    try:
        return json.loads(text)["version"] > 2
    except (ValueError, TypeError, KeyError):
        return False


def test_what_is_no_message_changes_no_verdict(root):
    before = Auditor(root).judge("logs", now_ms=AT)
    assert before.state == "complete"
    kinds = [
        b"agent/a/r1",
        b"agent/a",
        b"sent/logs/a/r1/1763900400000",
        b"sent/logs/a/r1/x",
        b"retired/a",
        b"",
        b"\xff/a",
        b"other/a/1",
    ]
    land(root, [(key, text) for key in kinds for text in DEEP] + [(None, "{}"), (b"agent/a/r1", None)])
    auditor = Auditor(root)
    assert auditor.judge("logs", now_ms=AT) == before
    assert auditor.unreadable

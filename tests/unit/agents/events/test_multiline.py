"""Which lines are one event: traces as their runtimes write them, patterns, limits; and where one begins does not matter."""

import random
from pathlib import Path

import pytest

from headrace.agents.events.multiline import Rule
from headrace.agents.events.patterns import pattern

PYTHON = b"""\
Traceback (most recent call last):
  File "/srv/app.py", line 3, in f
    return 1 / 0
           ~~^~~
ZeroDivisionError: division by zero

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/srv/app.py", line 9, in <module>
    f()
  [Previous line repeated 7 more times]
app.errors.Failed: could not
"""
GROUP = b"""\
  + Exception Group Traceback (most recent call last):
  |   File "/srv/app.py", line 1, in <module>
  | ExceptionGroup: two (2 sub-exceptions)
  +-+---------------- 1 ----------------
    | ValueError: 1
    +---------------- 2 ----------------
    | KeyboardInterrupt
    +------------------------------------
"""
JAVA = b"""\
Exception in thread "main" com.example.Failed: could not
\tat com.example.Main.run(Main.java:17)
\tat java.base/java.lang.Thread.run(Thread.java:840) [?:?]
\tSuppressed: java.io.IOException: close
\t\tat com.example.Main.close(Main.java:4)
Caused by: java.lang.IllegalStateException: because
\tat com.example.Main.prepare(Main.java:31)
\t... 12 more
Caused by: java.sql.SQLException: gone
\t... 14 common frames omitted
"""
GO = b"""\
panic: runtime error: index out of range [5] with length 3 [recovered]
\tpanic: again
[signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x47]

goroutine 1 [running]:
main.(*T).f[...](0xc000012345, {0x1, 0x2})
\t/srv/main.go:10 +0x1d
main.main()
\t/srv/main.go:5 +0x1d

goroutine 18 [chan receive, 2 minutes]:
net/http.(*conn).serve(0xc0000a0000)
\t/usr/local/go/src/net/http/server.go:1995
created by net/http.(*Server).Serve in goroutine 1
\t/usr/local/go/src/net/http/server.go:3086 +0x5cb
"""
SERVING = b"""\
2026/11/26 10:00:00 http: panic serving 127.0.0.1:4711: boom
goroutine 34 [running]:
net/http.(*conn).serve.func1()
\t/usr/local/go/src/net/http/server.go:1850 +0xbf
"""
DEADLOCK = b"""\
fatal error: all goroutines are asleep - deadlock!

goroutine 1 gp=0xc000002380 m=0 mp=0x5a1 [chan send]:
main.main()
\t/srv/main.go:5 +0x1d
exit status 2
"""
TRACES = [PYTHON, GROUP, JAVA, GO, SERVING, DEADLOCK]
ALL = Rule(("python", "java", "go"))


def events(rule: Rule, data: bytes) -> list[bytes]:
    lines = data.split(b"\n")[:-1]
    starts = rule.starts(lines)
    return [b"\n".join(lines[a:b]) for a, b in zip(starts, [*starts[1:], len(lines)], strict=True)]


@pytest.mark.parametrize("trace", TRACES)
@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
def test_a_trace_is_one_event_and_the_lines_around_it_are_not_in_it(trace: bytes, ending: bytes) -> None:
    data = b"before: one\nbefore two (with words)\n" + trace + b"2026-11-26 INFO after\nafter again\n"
    found = events(ALL, data.replace(b"\n", ending))
    assert found == [line + ending[:-1] for line in (b"before: one", b"before two (with words)")] + [
        trace.replace(b"\n", ending)[:-1]
    ] + [line + ending[:-1] for line in (b"2026-11-26 INFO after", b"after again")]


def test_traces_that_follow_each_other_are_events_of_their_own() -> None:
    assert events(ALL, b"".join(TRACES)) == [trace[:-1] for trace in TRACES]


def test_a_trace_of_another_language_is_lines() -> None:
    assert len(events(Rule(("go",)), PYTHON + JAVA)) == (PYTHON + JAVA).count(b"\n")


def test_start_takes_all_up_to_the_next_start_and_continue_what_it_matches() -> None:
    data = b"no start\n2026-11-26 one\nmore\n\n2026-11-26 two\n2026-11-26 three\n  x\n"
    start = Rule(start=pattern(r"^\d{4}-"))
    assert events(start, data) == [b"no start", b"2026-11-26 one\nmore\n", b"2026-11-26 two", b"2026-11-26 three\n  x"]
    assert events(Rule(continue_=pattern(r"^\s")), b"  a\n b\nc\n\td\n\n") == [b"  a\n b", b"c\n\td", b""]
    both = Rule(("java",), continue_=pattern(r"^\|"))
    assert events(both, b"E\n\tat a.b\n| x\n\tat c.d\nF\n") == [b"E\n\tat a.b\n| x\n\tat c.d", b"F"]


def test_an_event_has_at_most_so_many_lines_and_bytes() -> None:
    assert events(Rule(start=pattern(r"^S"), max_lines=2), b"S\na\nb\nc\nd\nS\n") == [b"S\na", b"b\nc", b"d", b"S"]
    rule = Rule(start=pattern(r"^S"), max_bytes=7)
    assert events(rule, b"S\n12345\n6\n" + b"x" * 20 + b"\n7\n") == [b"S\n12345", b"6", b"x" * 20, b"7"]


def test_patterns_look_at_the_first_kibibyte_only() -> None:
    assert events(Rule(continue_=pattern(r"x$")), b"a\n" + b"b" * 1024 + b"x\n") == [b"a", b"b" * 1024 + b"x"]


@pytest.mark.parametrize("seed", range(10))
def test_from_whichever_bound_it_begins_the_grouping_is_the_same(seed: int) -> None:
    rng = random.Random(seed)
    lines = [line for trace in TRACES for line in trace.split(b"\n")[:-1]] + [b"plain", b"", b"word: x", b"  indented"]
    mixed: list[bytes] = []
    for _ in range(20):
        at = rng.randrange(len(lines))
        mixed += lines[at : at + rng.randint(1, 8)]
    rule = Rule(
        tuple(rng.sample(("python", "java", "go"), rng.randint(1, 3))),
        continue_=rng.choice((None, pattern(r"^word"))),
        max_lines=rng.choice((3, 1000)),
        max_bytes=rng.choice((80, 10_000)),
    )
    starts = rule.starts(mixed)
    for bound in starts:
        assert [bound + start for start in rule.starts(mixed[bound:])] == [start for start in starts if start >= bound]


def test_whole_events_are_those_behind_which_another_begins() -> None:
    rule = Rule(("java",))
    assert rule.whole_bytes(b"a\n", 10) == 0
    assert rule.whole_bytes(b"a\n\tat x\n", 10) == 0
    assert rule.whole_bytes(b"a\n\tat x\nb\n\tat y\n", 10) == len(b"a\n\tat x\n")
    assert rule.whole_bytes(b"a\nb\nc\nd\n", 2) == 4
    assert rule.whole_bytes(b"a\n\tat x\n\tat y\nb\nc\n", 2) == len(b"a\n\tat x\n\tat y\n")


def test_real_traces_of_this_interpreter_are_one_event(tmp_path: Path) -> None:
    import subprocess
    import sys

    script = tmp_path / "fails.py"
    script.write_text(
        "def f(n):\n    return f(n - 1) if n else {}['k']\n"
        "try:\n    f(5)\nexcept KeyError as e:\n    raise OSError(2, 'x') from e\n"
    )
    trace = subprocess.run([sys.executable, str(script)], capture_output=True, check=False).stderr
    assert trace.count(b"Traceback") == 2
    assert events(ALL, b"before\n" + trace + b"after\n") == [b"before", trace[:-1], b"after"]

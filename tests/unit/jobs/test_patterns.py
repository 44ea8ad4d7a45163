"""What of a message is masked, and how bad it is, by lines as programs write them."""

import pyarrow as pa
import pytest

from headrace.jobs.batch.levels import levels_of, statuses
from headrace.jobs.batch.patterns import MOST_KEPT, MOST_READ, patterns_of

NOTHING = pa.nulls(1, pa.string())


@pytest.mark.parametrize(
    ("message", "pattern"),
    [
        ("took 31 ms, 1.5 s, -7 or 1,024", "took <n> ms, <n> s, <n> or <n>"),
        ("block blk_-6952295868487656571 is 67108864", "block blk_<n> is <n>"),
        ("block blk_388 is 12", "block blk_<n> is <n>"),
        ("commit 3f2a9c01e4 at 0x7fff5fbff8c0", "commit <n> at <n>"),
        ("id 123e4567-e89b-12d3-a456-426614174000 gone", "id <uuid> gone"),
        ("from 10.251.73.220:50010 to /10.0.0.1:80", "from <ip> to <path>"),
        ("peer fe80:0:0:0:1ff:fe23:4567:890a left", "peer <ip> left"),
        ("can't open /var/log/app.log: no room", "can't open <path> no room"),
        ("GET https://example.org/a?b=1 failed", "GET <url> failed"),
        ("user \"bob smith\" said 'no', but it isn't", "user <text> said <text>, but it isn't"),
        ("[Sun Dec 04 04:47:44 2005] [error] x", "[<time>] [error] x"),
        ("2015-07-29 17:41:44,747 - WARN  [Send]", "<time> - WARN [Send]"),
        ("- - [04/Mar/2026:10:00:01 +0000] x", "- - [<time>] x"),
        ("  many   blanks\tand\ttabs ", "many blanks and tabs"),
        ("", ""),
    ],
)
def test_what_differs_between_events_is_masked(message, pattern):
    assert patterns_of(pa.array([message])).to_pylist() == [pattern]


def test_a_pattern_is_bounded_however_long_its_message():
    assert patterns_of(pa.array(["x" * 10 * MOST_READ, None])).to_pylist() == ["x" * MOST_KEPT, None]


@pytest.mark.parametrize(
    ("field", "status", "message", "level"),
    [
        ("ERR", None, "INFO", "error"),
        ("notice", None, "", "info"),
        ("50", None, "", "error"),
        ("whatever", "404", "", "warning"),
        (None, "503", "INFO", "error"),
        (None, "2000", "", None),
        (None, None, "081109 203615 148 INFO dfs.DataNode: ERROR", "info"),
        (None, None, "[Sun Dec 04] [core:error] x", "error"),
        (None, None, "an Information about errors", None),
        (None, None, "logrotate: ALERT exited abnormally", "fatal"),
        (None, None, None, None),
    ],
)
def test_a_level_is_a_field_s_then_a_status_s_then_a_word_s(field, status, message, level):
    texts = (pa.array([text], pa.string()) for text in (field, status, message))
    told, code, said = texts
    assert levels_of([told, NOTHING], statuses(code), said).to_pylist() == [level]

"""What each parser makes of a line, and which one `auto` takes."""

from datetime import UTC, datetime

import pytest

from headrace.agents.events.parse import PARSERS, auto

READ = 1_795_424_400_000_000  # 2026-11-23T09:00:00Z


def at(*parts: int) -> int:
    return round(datetime(*parts, tzinfo=UTC).timestamp() * 1_000_000)  # type: ignore[arg-type,misc]  # mypy thinks of the time zone


def test_json_members_are_fields_and_its_time_is_the_event_s() -> None:
    line = '{"ts": "2026-11-23T08:00:00Z", "level": "info", "n": 7, "f": 1.5, "ok": true, "no": null, "deep": {"a": [1, "é"]}}'
    assert auto(line, READ) == (
        at(2026, 11, 23, 8),
        {"ts": "2026-11-23T08:00:00Z", "level": "info", "n": "7", "f": "1.5", "ok": "true", "deep": '{"a":[1,"é"]}'},
    )


@pytest.mark.parametrize(
    "line", ["{", "{}x", '{"a":', "[1,2]", '{"a": ' + "9" * 5000 + "}", '{"a":' * 100_000, "{'a': 1}", '"text"', "null"]
)
def test_what_is_no_json_object_is_plain(line: str) -> None:
    assert PARSERS["json"](line, READ) == (None, {})
    assert auto(line, READ) == (None, {})


def test_a_combined_access_log() -> None:
    line = '127.0.0.1 - frank [23/Nov/2026:08:55:36 +0000] "GET /a\\"b HTTP/1.0" 200 2326 "http://x/?a" "Mozilla/4.08 [en] (X)"'
    assert auto(line, READ) == (
        at(2026, 11, 23, 8, 55, 36),
        {
            "client": "127.0.0.1", "user": "frank", "method": "GET", "path": '/a\\"b', "protocol": "HTTP/1.0", "status": "200",
            "size": "2326", "referer": "http://x/?a", "user_agent": "Mozilla/4.08 [en] (X)",
        },
    )  # fmt: skip


def test_a_common_access_log_with_a_broken_request() -> None:
    assert auto('::1 - - [23/Nov/2026:08:55:36 +0100] "\\x16\\x03" 400 -', READ) == (
        at(2026, 11, 23, 7, 55, 36),
        {"client": "::1", "request": "\\x16\\x03", "status": "400"},
    )


def test_syslog_as_files_have_it() -> None:
    assert auto("Nov 14 15:16:01 combo sshd(pam_unix)[19939]: check pass", READ) == (
        at(2026, 11, 14, 15, 16, 1),
        {"hostname": "combo", "program": "sshd(pam_unix)", "pid": "19939"},
    )
    assert auto("Nov 14 15:16:01 combo last message repeated 2 times", READ)[1] == {"hostname": "combo"}


def test_syslog_with_a_priority() -> None:
    assert auto("<34>Nov 14 15:16:01 mymachine su: 'su root' failed", READ) == (
        at(2026, 11, 14, 15, 16, 1),
        {"facility": "auth", "severity": "crit", "hostname": "mymachine", "program": "su"},
    )


def test_syslog_5424() -> None:
    line = '<165>1 2026-10-11T22:14:15.003Z h.example evntslog 42 ID47 [x@1 a="b\\]c"][y@2] BOM'
    assert auto(line, READ) == (
        at(2026, 10, 11, 22, 14, 15) + 3000,
        {
            "facility": "local4", "severity": "notice", "hostname": "h.example", "program": "evntslog", "pid": "42",
            "msgid": "ID47", "structured_data": '[x@1 a="b\\]c"][y@2]',
        },
    )  # fmt: skip


@pytest.mark.parametrize("name", sorted(PARSERS))
@pytest.mark.parametrize(
    "line", ["", " ", "\0", "<", "<999>x", "[", '"', "a" * 1_000_000, '1 2 3 [x] "' + "\\" * 100_000, "<1>1 " * 9999]
)
def test_no_line_is_too_strange_or_too_slow(name: str, line: str) -> None:
    assert PARSERS[name](line, READ)[1] == {}

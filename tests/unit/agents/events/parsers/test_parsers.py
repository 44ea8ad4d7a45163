"""What each parser makes of a line, and which one `auto` takes."""

import time
from datetime import UTC, datetime
from typing import Any

import pytest

from headrace.agents.events.parsers.parser import Parsed, Parser
from headrace.agents.events.parsers.table import parser_of

READ = 1_795_424_400_000_000  # 2026-11-23T09:00:00Z


def at(*parts: int) -> int:
    return round(datetime(*parts, tzinfo=UTC).timestamp() * 1_000_000)  # type: ignore[arg-type,misc]  # mypy thinks of the time zone


def parser(kind: str, **more: Any) -> Parser:
    return parser_of({"type": kind, **more}, 2)


def auto(line: str, read_time_us: int) -> Parsed:
    return parser("auto")(line, read_time_us)


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
    assert parser("json")(line, READ) == (None, {"parse_error": "not a JSON object"})
    assert parser_of({"type": "json"}, 1)(line, READ) == (None, {})
    assert auto(line, READ) == (None, {})


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ('{{"a": {}, "b": -{}}}'.format("9" * 30, "9" * 19), {"a": "9" * 30, "b": "-" + "9" * 19}),
        ('{"a": [%s]}' % ("9" * 30), {"a": "[%s]" % ("9" * 30)}),
        ('{"a": 18446744073709551615, "b": -9223372036854775808}', {"a": "18446744073709551615", "b": "-9223372036854775808"}),
        (
            '{"a": 1e300, "b": 1e-7, "c": 1.0, "d": [1e300, 1.50]}',
            {"a": "1e+300", "b": "1e-07", "c": "1.0", "d": "[1e+300,1.5]"},
        ),
        ('{"a": NaN, "b": 1e400, "c": [-Infinity]}', {"a": "NaN", "b": "Infinity", "c": "[-Infinity]"}),
        ('{"a": "\\ud800", "\\udc00": true}', {"a": "\ud800", "\udc00": "true"}),
        (' \t{"a": "1", "a": "2"}\r', {"a": "2"}),
        ('{"a": {"b": "\\u00e9\\/"}}', {"a": '{"b":"é/"}'}),
    ],
)
def test_numbers_and_texts_are_what_the_standard_library_reads(line: str, fields: dict[str, str]) -> None:
    assert parser("json")(line, READ)[1] == fields


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


def test_syslog_as_rsyslog_writes_files() -> None:
    line = "2026-11-14T15:16:01.000123+01:00 combo CRON[42]: (root) CMD (x)"
    expected = (at(2026, 11, 14, 14, 16, 1) + 123, {"hostname": "combo", "program": "CRON", "pid": "42"})
    assert parser("syslog")(line, READ) == expected
    assert auto(line, READ) == expected
    assert parser_of({"type": "auto"}, 1)(line, READ) == (expected[0], {})
    assert parser_of({"type": "syslog"}, 1)(line, READ) == (expected[0], {})
    for other in ("2026-11-14T15:16:01.000123+01:00 ERROR app: x", "2026-11-14T15:16:01.000123Z host app: x", line[:40]):
        assert auto(other, READ)[1] == {}


def test_syslog_as_rsyslog_forwards_it() -> None:
    line = "<13>2026-11-14T15:16:01+01:00 combo CRON[42]: x"
    expected = {"facility": "user", "severity": "notice", "hostname": "combo", "program": "CRON", "pid": "42"}
    assert parser("syslog")(line, READ) == (at(2026, 11, 14, 14, 16, 1), expected) == auto(line, READ)
    assert parser_of({"type": "syslog"}, 1)(line, READ) == (None, {})


def test_a_program_where_a_host_would_be_is_no_host() -> None:
    for line in ("Nov 14 15:16:01 Installed: x-1.noarch", "Nov 14 15:16:01 Installed: 1:x-1.noarch"):
        assert parser("syslog")(line, READ) == (at(2026, 11, 14, 15, 16, 1), {"program": "Installed"})
        assert parser_of({"type": "syslog"}, 1)(line, READ)[1]["hostname"] == "Installed:"


def test_syslog_as_programs_write_it_to_the_local_socket() -> None:
    for line, named in (
        ("<78>Nov 14 15:16:01 CRON[42]: (root) CMD (x)", {"program": "CRON", "pid": "42"}),
        ("<78>Nov 14 15:16:01 cron: a: b", {"program": "cron"}),
        ("<78>Nov 14 15:16:01 fe80::1 cron: b", {"hostname": "fe80::1", "program": "cron"}),
    ):
        assert parser("syslog")(line, READ) == (at(2026, 11, 14, 15, 16, 1), {"facility": "cron", "severity": "info", **named})


def test_logfmt() -> None:
    line = r'time=2026-11-23T08:00:00Z level=info msg="say \"é\"\tto\u00e9 \x41" took=3ms empty= also="" cached a.b/c=1=2'
    assert parser("logfmt")(line, READ) == (
        at(2026, 11, 23, 8),
        {
            "time": "2026-11-23T08:00:00Z", "level": "info", "msg": 'say "é"\ttoé A', "took": "3ms", "empty": "", "also": "",
            "cached": "true", "a.b/c": "1=2",
        },
    )  # fmt: skip
    assert parser("logfmt")(" a=1 a=2  \r", READ) == (None, {"a": "2"})


def test_auto_takes_pairs_and_nothing_else_for_logfmt() -> None:
    assert auto('ts=2026-11-23T08:00:00Z level=info msg="it is so"', READ) == (
        at(2026, 11, 23, 8),
        {"ts": "2026-11-23T08:00:00Z", "level": "info", "msg": "it is so"},
    )
    for line in (
        "a=b is what he said",
        "a=b",
        "id=1, name=x",
        "x == y",
        "http://h/?a=1 b=2",
        "a=1 b",
        'a=1 b="',
        "Max=1 Nov=2 and",
    ):
        assert auto(line, READ) == (None, {}), line


def test_logfmt_behind_a_time() -> None:
    line = "2026-11-23T08:00:00Z level=info"
    assert parser("logfmt")(line, READ) == (at(2026, 11, 23, 8), {"2026-11-23T08:00:00Z": "true", "level": "info"})


def test_records_of_the_audit_daemon() -> None:
    line = (
        "node=h type=USER_LOGIN msg=audit(1795420800.123:117286): pid=1712 old auid=4294967295 ses=7 "
        'msg=\'op=login id=1000 exe="/usr/sbin/sshd" res=success\'\x1dUID="root" ID="ec2-user"'
    )
    expected = (
        at(2026, 11, 23, 8) + 123_000,
        {
            "node": "h", "type": "USER_LOGIN", "serial": "117286", "pid": "1712", "auid": "4294967295", "ses": "7",
            "op": "login", "id": "1000", "exe": "/usr/sbin/sshd", "res": "success", "UID": "root", "ID": "ec2-user",
        },
    )  # fmt: skip
    assert parser("audit")(line, READ) == expected == auto(line, READ)
    assert parser("audit")("type=EOE", READ) == (None, {"parse_error": "not a line of the audit daemon"})


def test_an_access_log_of_several_sites() -> None:
    line = 'www.example.com:443 127.0.0.1 - - [23/Nov/2026:08:55:36 +0000] "GET / HTTP/1.1" 200 5'
    assert auto(line, READ)[1]["vhost"] == "www.example.com:443"
    assert parser("access")(line, READ)[1]["client"] == "127.0.0.1"
    assert auto(line.removeprefix("www.example.com:443 "), READ)[1].get("vhost") is None
    assert auto('127.0.0.1:5000 - - [23/Nov/2026:08:55:36 +0000] "GET / HTTP/1.1" 200 5', READ)[1]["client"] == "127.0.0.1:5000"
    assert "vhost" not in parser_of({"type": "access"}, 1)(line, READ)[1]


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_of_a_utf_16_file_are_read_as_the_text_that_they_are(codec: str, end: str) -> None:
    texts = [
        '{"ts": "2026-11-23T08:00:00Z", "name": "Jürgen"}',
        "",
        "ts=2026-11-23T08:00:00Z level=info name=" + ("Ł" if codec == "utf-16-le" else "ü"),
    ]
    lines = ("\ufeff" + "".join(f"{text}{end}" for text in texts)).encode(codec).split(b"\n")[:3]
    told = [auto(line.decode("iso-8859-1"), READ) for line in lines]
    assert told[0] == (at(2026, 11, 23, 8), {"ts": "2026-11-23T08:00:00Z", "name": "Jürgen"})
    assert told[1] == (None, {})
    assert told[2] == (at(2026, 11, 23, 8), {"ts": "2026-11-23T08:00:00Z", "level": "info", "name": texts[2][-1]})
    assert parser("json")(lines[0].decode("iso-8859-1"), READ) == told[0]


@pytest.mark.parametrize("around", ["\ufeff{}", "\0\0\0{}", "{}\0\0", "\x1b[0m{}\x1b[K", "\x1b[38;5;208m{}\r"])
def test_what_is_around_a_line_does_not_hide_it(around: str) -> None:
    line = around.replace("{}", '{"ts": "2026-11-23T08:00:00Z"}')
    expected = (at(2026, 11, 23, 8), {"ts": "2026-11-23T08:00:00Z"})
    assert auto(line, READ) == expected == parser("json")(line, READ)
    assert parser("regex", pattern="^(?P<rest>ü+)$")(around.replace("{}", "ü"), READ) == (None, {"rest": "ü"})


@pytest.mark.parametrize("line", ["", "plain words", "=1", 'a="open', 'a=b"c', 'a="b"c', '"a"=1', "a=1 =2"])
def test_what_is_no_logfmt_says_so(line: str) -> None:
    assert parser("logfmt")(line, READ) == (None, {"parse_error": "not logfmt"})


def test_named_groups_of_an_expression_are_fields() -> None:
    pattern = r"^(?P<level>[A-Z]+) (?P<größe>\S+)(?: took (?P<took>\d+))?"
    regex = parser("regex", pattern=pattern)
    assert regex("INFO é", READ) == (None, {"level": "INFO", "größe": "é"})
    assert regex("INFO \ud800 took 7", READ) == (None, {"level": "INFO", "größe": r"\ud800", "took": "7"})
    assert regex("2026-11-23 08:00:00 info", READ) == (at(2026, 11, 23, 8), {"parse_error": "the pattern does not match"})


def test_a_line_of_a_container_runtime() -> None:
    line = '2026-11-23T08:00:00.669794202Z stderr F {"level": "info", "ts": "2026-11-23T07:00:00Z"}'
    moment = at(2026, 11, 23, 8) + 669_794
    content = '{"level": "info", "ts": "2026-11-23T07:00:00Z"}'
    assert parser("cri")(line, READ) == (moment, {"stream": "stderr", "tag": "F", "log": content})
    fields = {"stream": "stderr", "tag": "F", "level": "info", "ts": "2026-11-23T07:00:00Z"}
    assert parser("cri", content="json")(line, READ) == (moment, fields)
    assert parser("cri", content="json", time={"field": "ts"})(line, READ) == (at(2026, 11, 23, 7), fields)
    assert parser("cri", content="json")("2026-11-23T08:00:00+01:00 stdout P {", READ) == (
        at(2026, 11, 23, 7),
        {"stream": "stdout", "tag": "P", "log": "{"},
    )
    assert parser("cri")("2026-11-23T08:00:00Z stdout F", READ)[1] == {"stream": "stdout", "tag": "F", "log": ""}
    for none in ("2026-11-23T08:00:00Z stdin F x", "2026-11-23T08:00:00Z stdout X x", "stdout F x", ""):
        assert parser("cri")(none, READ)[1] == {"parse_error": "not a line of a container runtime"}


def test_a_time_is_taken_from_where_it_is_said_to_be() -> None:
    line = (
        '{"time": "2026-11-23T08:00:00Z", "when": "23.11.2026 07:00:00,5", "ms": 1795424400123, "s": 1795424400.25, "n": true}'
    )

    def time_of(**rule: Any) -> int | None:
        event_time_us, fields = parser("json", time=rule)(line, READ)
        assert (fields.get("parse_error") is not None) == (event_time_us is None)
        return event_time_us

    assert time_of(timezone="Europe/Zurich") == at(2026, 11, 23, 8)
    assert time_of(field="when", formats=["%d.%m.%Y %H:%M:%S,%f"]) == at(2026, 11, 23, 7) + 500_000
    assert time_of(field="when", formats=["%d.%m.%Y %H:%M:%S,%f"], timezone="Europe/Zurich") == at(2026, 11, 23, 6) + 500_000
    assert time_of(field="ms", formats=["epoch_ms"]) == READ + 123_000
    assert time_of(field="ms") == READ + 123_000
    assert time_of(field="s", formats=["epoch"]) == READ + 250_000
    assert time_of(field="n", formats=["epoch"]) is None
    assert time_of(field="gone") is None
    assert time_of(field="when", formats=["%Y-%m-%d"]) is None


def test_times_without_a_zone_are_of_the_zone_that_is_said() -> None:
    zurich = {"timezone": "Europe/Zurich"}
    assert parser("plain", time=zurich)("2026-07-01 08:00:00 x", READ) == (at(2026, 7, 1, 6), {})
    assert parser("plain", time=zurich)("2026-07-01 08:00:00Z x", READ) == (at(2026, 7, 1, 8), {})
    assert parser("auto", time=zurich)("Nov 14 15:16:01 combo sshd[1]: x", READ)[0] == at(2026, 11, 14, 14, 16, 1)
    assert parser("syslog", time={"timezone": "-02:30"})("Nov 14 15:16:01 h p: x", READ)[0] == at(2026, 11, 14, 17, 46, 1)
    assert parser("plain", time={"formats": ["[%d/%b/%Y %H:%M]"], **zurich})("[01/Jul/2026 08:00] x", READ) == (
        at(2026, 7, 1, 6),
        {},
    )
    assert parser("plain", time={"formats": ["%Y-%m-%d"]})("x", READ)[1] == {
        "parse_error": "no time where the configuration says"
    }


KINDS: dict[str, dict[str, Any]] = {
    "auto": {}, "json": {}, "logfmt": {}, "regex": {"pattern": "(a+)+(?P<b>b)$"}, "access": {}, "syslog": {},
    "cri": {"content": "logfmt"},
    "plain": {"time": {"formats": ["%d %B %Y %H:%M:%S", "epoch"]}},
}  # fmt: skip


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize(
    "line",
    [
        "", " ", "\0", "<", "<999>x", "[", '"', "a" * 1_000_000, '1 2 3 [x] "' + "\\" * 100_000, "<1>1 " * 9999, " " * 500_000,
        'a="' + "\\" * 500_001, "a=" * 300_000, "2026-11-23T08:00:00Z stdout F " + 'a="b" ' * 50_000 + '"', "9" * 500_000,
        "[" * 300_000, '{"a":' * 100_000, "1 January " + " " * 300_000,
    ],
)  # fmt: skip
def test_no_line_is_too_strange_or_too_slow(kind: str, line: str) -> None:
    parse = parser(kind, **KINDS[kind])
    before = time.process_time()
    parse(line, READ)
    assert time.process_time() - before < 2.5, "a quadratic parser takes minutes for these"

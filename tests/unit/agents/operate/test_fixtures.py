"""`headrace agent test`: what a configuration makes of lines, beside what it is to make of them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from headrace.cli import main

ACCESS = '192.0.2.7 - ann [26/Nov/2026:10:00:00 +0100] "GET /a HTTP/1.1" 200 512'
Tested = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    inputs = [
        {"tail": ["/var/log/web/*.log"], "topic": "web", "name": "web", "parse": "access"},
        {"tail": ["/var/log/app/*.log"], "topic": "app", "name": "app", "transforms": [
            {"filter": {"exclude": {"pattern": "DEBUG"}}}, {"add": {"env": "prod"}},
        ]},
    ]  # fmt: skip
    servers = {"kafka": {"bootstrap.servers": "127.0.0.1:1"}, "registry": "http://127.0.0.1:1"}
    file = tmp_path / "agent.yaml"
    file.write_text(yaml.safe_dump({"agent": {"state_dir": str(tmp_path / "state")}, **servers, "inputs": inputs}))
    return file


@pytest.fixture
def tested(config: Path, capsys: pytest.CaptureFixture[str]) -> Tested:
    """Run fixtures, and return what is said of each."""

    def run(*fixtures: dict[str, Any], status: int = 0) -> list[dict[str, Any]]:
        config.with_name("agent.tests.yaml").write_text(yaml.safe_dump({"tests": list(fixtures)}))
        capsys.readouterr()
        found = main(["agent", "test", "--config", str(config), "--format", "json"])
        out, err = capsys.readouterr()
        assert found == status, err
        return [json.loads(line) for line in out.splitlines()]

    return run


def test_what_was_expected_is_compared_by_the_keys_that_are_named(tested: Tested) -> None:
    expected = {
        "event_time": "2026-11-26T09:00:00Z",
        "fields": {
            "client": "192.0.2.7", "user": "ann", "method": "GET", "path": "/a", "protocol": "HTTP/1.1", "status": 200,
            "bytes": 512,
        },
    }  # fmt: skip
    fixture = {"name": "access", "input": "web", "lines": [ACCESS], "read_time": "2026-11-27T00:00:00Z"}
    (first,) = tested(fixture)
    fields = first["events"][0]["fields"]
    assert first["events"][0]["message"] == ACCESS
    assert fields["status"] == "200"
    numbers = {**fields, "status": 200}
    assert tested({**fixture, "expect": [{"event_time": expected["event_time"], "fields": numbers}]})[0]["passed"]
    (failed,) = tested({**fixture, "expect": [{"fields": {**numbers, "status": 404}}]}, status=1)
    assert [line for line in failed["diff"] if line[0] in "+-"] == [
        "--- expected", "+++ found", "-    status: '404'", "+    status: '200'",
    ]  # fmt: skip


def test_lines_that_are_left_out_are_counted_and_the_others_are_compared_in_order(tested: Tested) -> None:
    lines = "INFO one\nDEBUG two\nINFO three, without an end"
    expect = [{"message": "INFO one", "fields": {"env": "prod"}}, {"message": "INFO three, without an end"}]
    fixture = {"name": "filter", "input": "app", "lines": lines, "expect": expect, "left_out": 1}
    (done,) = tested(fixture)
    assert done["passed"], done
    (more,) = tested({**fixture, "left_out": 0}, status=1)
    assert "-left_out: 0" in more["diff"]
    (fewer,) = tested({**fixture, "expect": expect[:1]}, status=1)
    assert any("three" in line for line in fewer["diff"] if line.startswith("+"))


def test_nothing_touches_the_state(tested: Tested, config: Path) -> None:
    tested({"name": "a", "input": "app", "lines": ["one"]})
    assert sorted(each.name for each in config.parent.iterdir()) == ["agent.tests.yaml", "agent.yaml"]


def test_without_an_expectation_what_would_be_shipped_is_one(
    tested: Tested, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fixture = {"name": "new", "input": "web", "lines": [ACCESS, "nonsense"], "read_time": "2026-11-27T00:00:00Z"}
    tested(fixture)
    assert main(["agent", "test", "--config", str(config)]) == 0
    told = capsys.readouterr().out.partition("\n")[2]
    assert tested({**fixture, **yaml.safe_load(told)})[0]["passed"]


@pytest.mark.parametrize(
    ("fixture", "message"),
    [
        ({"name": "a", "lines": ["x"]}, "say which input (inputs: web, app)"),
        ({"name": "a", "lines": ["x"], "input": "wbe"}, "no input is named wbe"),
        ({"name": "a", "lnies": ["x"], "input": "web"}, "did you mean lines?"),
    ],
)
def test_a_fixture_that_cannot_be_run_is_a_wrong_use(
    config: Path, capsys: pytest.CaptureFixture[str], fixture: dict[str, Any], message: str
) -> None:
    file = config.with_name("other.yaml")
    file.write_text(yaml.safe_dump({"tests": [fixture]}))
    assert main(["agent", "test", "--config", str(config), str(file)]) == 2
    assert message in capsys.readouterr().err
    assert main(["agent", "test", "--config", str(config)]) == 2
    assert "agent.tests.yaml" in capsys.readouterr().err


@pytest.fixture
def pushed_inputs(config: Path) -> None:
    values = yaml.safe_load(config.read_text())
    values["inputs"] += [
        {"syslog": {"tcp": "127.0.0.1:0", "max_message_bytes": 1024}, "topic": "sys", "name": "sys"},
        {"http": {"listen": "127.0.0.1:0"}, "topic": "web", "name": "posts", "service": "shop"},
        {"journald": {"namespace": "web"}, "topic": "journal", "name": "journal"},
    ]
    config.write_text(yaml.safe_dump(values))


@pytest.mark.usefixtures("pushed_inputs")
def test_a_syslog_message_is_framed_and_named_as_on_its_stream(tested: Tested) -> None:
    message = "<165>1 2026-11-26T18:00:00Z host-7 app 4711 ID47 - by tcp"
    expect = [{"message": message, "host": "host-7", "service": "app", "source": "syslog+tcp://192.0.2.7"}]
    (done,) = tested({"name": "one", "input": "sys", "messages": [message], "expect": expect})
    assert done["passed"], done
    assert done["events"][0]["fields"]["msgid"] == "ID47"
    (long,) = tested({"name": "long", "input": "sys", "messages": ["<1>" + "x" * 1500]})
    assert [each["fields"]["syslog.piece"] for each in long["events"]] == ["0", "1"]


@pytest.mark.usefixtures("pushed_inputs")
def test_what_a_protocol_says_beside_a_line_wins_over_what_is_in_it(tested: Tested) -> None:
    line = {"line": '{"user": "a", "severity_text": "INFO"}', "fields": {"severity_text": "WARN"}, "host": "h7"}
    expect = [
        {
            "host": "h7",
            "service": "shop",
            "event_time": "2026-11-26T18:00:00Z",
            "fields": {"user": "a", "severity_text": "WARN"},
        }
    ]
    pushed = [{**line, "event_time": "2026-11-26T18:00:00Z"}]
    read_time = "2026-11-27T00:00:00Z"
    fixture = {"name": "beside", "input": "posts", "pushed": pushed, "read_time": read_time, "expect": expect}
    (done,) = tested(fixture)
    assert done["passed"], done


OTLP = {
    "resourceLogs": [
        {
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]},
            "scopeLogs": [
                {
                    "logRecords": [
                        {"timeUnixNano": "1795701906123456789", "severityText": "WARN", "body": {"stringValue": "sold out"}},
                    ]
                }
            ],
        }
    ]
}


@pytest.mark.usefixtures("pushed_inputs")
def test_a_body_as_it_is_posted(tested: Tested) -> None:
    source, read_time = "http://192.0.2.7", "2026-11-27T00:00:00Z"
    posted = {"input": "posts", "read_time": read_time}
    as_json = {"name": "array", **posted, "body": {"text": '[{"user": "a"}, {"user": "b"}]'}}
    as_text = {"name": "text", **posted, "body": {"text": "one\ntwo\n", "content_type": "text/plain"}}
    as_otlp = {"name": "otlp", **posted, "body": {"text": json.dumps(OTLP), "path": "/v1/logs"}}
    expect: list[list[dict[str, Any]]] = [
        [{"fields": {"user": name}, "message": f'{{"user": "{name}"}}', "source": source, "service": "shop"} for name in "ab"],
        [{"message": "one"}, {"message": "two"}],
        [
            {
                "message": "sold out", "event_time": "2026-11-26T14:05:06.123456Z", "source": f"otlp+{source}",
                "fields": {"severity_text": "WARN", "resource.service.name": "shop"},
            }
        ],
    ]  # fmt: skip
    fixtures = [{**fixture, "expect": each} for fixture, each in zip((as_json, as_text, as_otlp), expect, strict=True)]
    assert [done["passed"] for done in tested(*fixtures)] == [True] * 3


@pytest.mark.usefixtures("pushed_inputs")
def test_a_journal_s_entries_as_they_are_exported(tested: Tested) -> None:
    entry = "__REALTIME_TIMESTAMP=1795701906123456\n_HOSTNAME=h7\nPRIORITY=3\nSYSLOG_IDENTIFIER=sshd\nMESSAGE={}"
    expect = [
        {
            "message": message, "host": "h7", "service": "sshd", "source": "journald://web",
            "event_time": "2026-11-26T14:05:06.123456Z", "fields": {"severity": "err", "program": "sshd"},
        }
        for message in ("refused", "again")
    ]  # fmt: skip
    journal = "\n\n".join(entry.format(message) for message in ("refused", "again"))
    fixture = {"name": "entries", "input": "journal", "journal": journal, "read_time": "2026-11-27T00:00:00Z", "expect": expect}
    (done,) = tested(fixture)
    assert done["passed"], done


@pytest.mark.usefixtures("pushed_inputs")
@pytest.mark.parametrize(
    "fixture",
    [
        {"input": "web", "messages": ["<1>a"]},
        {"input": "posts", "messages": ["<1>a"]},
        {"input": "sys"},
        {"input": "sys", "messages": ["<1>a"], "lines": ["b"]},
        {"input": "sys", "body": {"text": "{}"}},
        {"input": "posts", "body": {"text": "{"}},
        {"input": "posts", "body": {"text": "{}", "path": "/elsewhere"}},
        {"input": "posts", "body": {"text": "{}", "content_type": "text/html"}},
        {"input": "posts", "body": {"text": '{"resourceLogs": 7}', "path": "/v1/logs"}},
        {"input": "posts", "journal": "MESSAGE=a"},
        {"input": "journal", "journal": "no field"},
    ],
)
def test_a_fixture_that_does_not_go_with_its_input_is_an_error(tested: Tested, fixture: dict[str, Any]) -> None:
    tested({"name": "wrong", **fixture}, status=2)

"""What an agent's configuration may say."""

import json
import re
from pathlib import Path

import pytest
import yaml

from headrace.agents.configuration import AgentConfig, load_agent_config
from headrace.agents.events.multiline import Rule
from headrace.agents.events.patterns import pattern
from headrace.agents.events.pipeline import AUTO, compiled
from headrace.agents.input_names import names_of
from headrace.agents.inputs import schema_of
from headrace.config import load_config
from headrace.errors import ConfigError

GOOD = {
    "agent": {"state_dir": "/var/lib/agent", "http": "127.0.0.1:9601"},
    "kafka": {"bootstrap.servers": "b1:9092", "compression.type": "zstd"},
    "registry": "http://127.0.0.1:8081",
    "inputs": [{"tail": ["/var/log/*.log"], "topic": "app", "parse": "auto"}],
}
OWN_SCHEMA = {"type": "record", "name": "R", "fields": [{"name": "message", "type": "string"}]}


def load(tmp_path: Path, *overrides: str) -> AgentConfig:
    file = tmp_path / "agent.yaml"
    file.write_text(yaml.safe_dump(GOOD))
    return load_config(AgentConfig, file, overrides=overrides, environment={})


def test_librdkafka_s_keys_are_handed_on(tmp_path: Path) -> None:
    config = load(tmp_path, "kafka.linger.ms=7")
    assert config.kafka == {"bootstrap.servers": "b1:9092", "compression.type": "zstd", "linger.ms": 7}
    assert config.inputs[0].max_line_bytes == 512 * 1024


def test_a_multiline_rule_is_part_of_the_pipeline(tmp_path: Path) -> None:
    config = load(tmp_path, "inputs.0.multiline={traces: [java, go, java], continue: '^é'}", "inputs.0.max_line_bytes=4096")
    rule = compiled(config.inputs[0].pipeline).multiline
    assert rule == Rule(("go", "java"), None, pattern("^é"), 1000, 1000, 4096)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("inputs.0.topic=_audit", "topic"),
        ("inputs.0.parse=xml", "parse"),
        ("inputs.0.max_line_bytes=2000000", "max_line_bytes"),
        (
            "inputs=[{stdin: {}, topic: app, multiline: {traces: [java]}}]",
            "multiline: it is for inputs with tail, containers or dir",
        ),
        ("inputs=[{topic: a, directory: {path: /x, when_done: move}}]", "when_done"),
        ("inputs=[{topic: a, directory: {path: /x, suffix: a/b}}]", "suffix"),
        ("inputs=[{topic: a, directory: {path: /x, unfinished: ['']}}]", "unfinished"),
        ("inputs=[{topic: a, directory: /x, max_held_bytes: 5}]", "max_held_bytes: it is for inputs with tail or containers"),
        ("inputs=[{topic: a, directory: /x, spool: {max_bytes: 5MiB}}]", "spool"),
        ("inputs=[{topic: a, syslog: {}}]", "name one of udp, tcp, tls, unix, unix_stream"),
        ("inputs=[{topic: a, syslog: {tls: 127.0.0.1:6514}}]", "tls and ssl.keystore.location need each other"),
        ("inputs=[{topic: a, http: {listen: 8080}}]", "host:port"),
        ("inputs=[{topic: a, journald: {units: [-x]}}]", "units"),
        ("inputs.0.multiline={}", "say which lines are one event"),
        ("inputs.0.multiline={traces: [cobol]}", "traces"),
        ("inputs.0.multiline={start: '^(', timeout_ms: 5}", "missing|RE2"),
        ("inputs.0.multiline={start: '^a', continue: b}", "give start, or traces and continue"),
        ("registry=127.0.0.1:8081", "http://host:port"),
        ("kafka.acks=1", "acks: it is set by the agent"),
        ("kafka.message.timeout.ms=300000", "message.timeout.ms: it is set by the agent"),
        ("agent.http=localhost", "host:port"),
        ("agent.state_dri=/x", "state_dir"),
    ],
)
def test_a_wrong_value_names_its_key(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, override)


def test_syslog_is_parsed_as_such_unless_another_parser_is_named(tmp_path: Path) -> None:
    ours, others = "{topic: a, syslog: {udp: 127.0.0.1:514}}", "{topic: b, syslog: {udp: 127.0.0.1:515}, parse: plain}"
    config = load(tmp_path, f"inputs=[{ours}, {others}, {{topic: c, journald: null}}]")
    same = load(tmp_path, f"inputs=[{ours[:-1]}, parse: syslog}}]")
    assert config.inputs[0].pipeline == same.inputs[0].pipeline != config.inputs[1].pipeline
    assert config.inputs[2].pipeline == AUTO


def test_a_token_that_cannot_be_used_is_not_shown(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as told:
        load(tmp_path, "inputs=[{topic: a, http: {listen: 127.0.0.1:1}}]", "inputs.0.http.bearer.token=hushhu")
    assert "bearer.token" in str(told.value)
    assert "hush" not in str(told.value)


def test_dead_letters_have_a_topic_of_their_own(tmp_path: Path) -> None:
    assert load(tmp_path, "dead_letter.topic=letters").dead_letter.topic == "letters"
    with pytest.raises(ConfigError, match="give dead letters one of their own"):
        load(tmp_path, "dead_letter.topic=app")


def test_an_input_is_called_what_it_is_named_or_by_its_kind_and_topic(tmp_path: Path) -> None:
    more = [f"inputs.{n}={{tail: [/b], topic: app}}" for n in (1, 2)]
    config = load(tmp_path, *more, "inputs.2.name=tail-app", "inputs.3={tail: [/c], topic: web, name: front}")
    assert names_of(config) == ["tail-app-2", "tail-app-3", "tail-app", "front"]


@pytest.mark.parametrize("start", ["end", "24h", "2026-11-23T10:00:00Z", '"2026-11-23T10:00:00Z"'])
def test_a_start_is_kept_as_it_is_written(tmp_path: Path, start: str) -> None:
    said = load(tmp_path, f"inputs.0.start={start}").inputs[0].start
    assert said.replace("+00:00", "Z") == start.strip('"')


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["inputs.0.start=start"], r"inputs.0.start: start is beginning, end, a time as 2026-11-26T00:00:00Z, or an age"),
        (["inputs.0.start=2026-11-23"], r"a time as 2026-11-26T00:00:00Z, or an age as 24h, not 2026-11-23"),
        (["inputs.0.start=2026-11-23T10:00:00"], "say its zone"),
        (["inputs=[{topic: a, stdin: {}, start: end}]"], "start: it is for inputs with tail or containers"),
        (["inputs=[{topic: a, tail: [/a], start: end}, {topic: a, tail: [/b]}]"], "give each a `name`"),
    ],
)
def test_a_start_that_cannot_be_is_refused(tmp_path: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, *overrides)


@pytest.mark.parametrize(
    ("directory", "state_dir", "refused"),
    [
        ("drop", "state", ""),
        (".", "state", "agent.yaml"),
        ("../link", "state", "agent.yaml"),
        ("{path: drop, subfolders: true}", "drop/state", "drop/state"),
        ("drop", "drop/state", ""),
    ],
)
def test_a_directory_that_would_put_away_what_is_the_agents_own_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, directory: str, state_dir: str, refused: str
) -> None:
    home = tmp_path / "home"
    (home / "drop/state").mkdir(parents=True)
    (tmp_path / "link").symlink_to(home)
    monkeypatch.chdir(home)
    file = home / "agent.yaml"
    file.write_text(yaml.safe_dump(GOOD))
    sets = [f"inputs=[{{topic: a, directory: {directory}}}]", f"agent.state_dir={state_dir}"]
    if not refused:
        assert load_agent_config(file, sets, {}).config.inputs[0].directory is not None
        return
    with pytest.raises(ConfigError, match=rf"inputs.0.directory: .*{refused} is the agent's own"):
        load_agent_config(file, sets, {})


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("kafka.ssl.key.location=drop/own", "kafka.ssl.key.location"),
        ("kafka.ssl.ca.location=drop", "kafka.ssl.ca.location"),
        ("kafka.sasl.kerberos.keytab=drop/own", "kafka.sasl.kerberos.keytab"),
        ("registry.ssl.ca.location=drop/own", "registry.ssl.ca.location"),
        ("agent.http.ssl.keystore.location=drop/own", "agent.http.ssl.keystore.location"),
        ("agent.state_dir=drop", "agent.state_dir"),
        ("topics={a: {schema: drop/own.avsc}}", "topics.a.schema"),
        ("inputs.1.syslog.ssl.keystore.location=drop/own", "inputs.1.syslog.ssl.keystore.location"),
        ("inputs.2.http.ssl.truststore.location=drop/own", "inputs.2.http.ssl.truststore.location"),
        ("inputs.0.transforms=[{python: 'drop/own.py:made'}]", "inputs.0.transforms.0.python"),
        ("inputs.3.exec.command=[drop/own]", "inputs.3.exec.command"),
        ("kafka.sasl.password=x${file:drop/own}", "--set kafka.sasl.password"),
        ("inputs.2.http.bearer.token=${file:link}", "--set inputs.2.http.bearer.token"),
        ("inputs.0.directory=secret", "kafka.ssl.key.password"),
        ("inputs.0.directory=variable", "HEADRACE__REGISTRY__BASIC_AUTH_USER_INFO"),
    ],
)
def test_what_the_agent_needs_may_not_lie_among_dropped_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, override: str, key: str
) -> None:
    """Whatever names it; and where it does not, all of that is allowed."""
    monkeypatch.chdir(tmp_path)
    for folder in ("drop", "secret", "variable", "else"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "own").write_text("name:secret")
        (tmp_path / folder / "own.avsc").write_text(json.dumps(OWN_SCHEMA))
        (tmp_path / folder / "own.py").write_text("def made(event): return event")
    (tmp_path / "link").symlink_to("drop/own")
    config = {
        **GOOD,
        "agent": {"state_dir": "state", "http": "127.0.0.1:8001"},
        "kafka": {**GOOD["kafka"], "ssl.key.password": "${file:secret/own}"},
        "registry": {"url": "https://127.0.0.1:8081"},
        "inputs": [
            {"directory": "drop", "topic": "a"},
            {"syslog": {"tls": "127.0.0.1:6514", "ssl.keystore.location": "else/own"}, "topic": "b"},
            {"http": {"listen": "127.0.0.1:80", "ssl.keystore.location": "else/own"}, "topic": "c"},
            {"exec": {"command": ["else/own"]}, "topic": "d"},
        ],
    }
    (tmp_path / "etc").mkdir()
    file = tmp_path / "etc/agent.yaml"
    file.write_text(yaml.safe_dump(config))
    environment = {"HEADRACE__REGISTRY__BASIC_AUTH_USER_INFO": "${file:variable/own}"}
    with pytest.raises(
        ConfigError, match=rf"inputs\.0\.directory: \S+ is the agent's own \({re.escape(key)}\), and lies among"
    ):
        load_agent_config(file, [override], environment)
    load_agent_config(
        file, [override.replace("drop", "else").replace("file:link", "file:else/own"), "inputs.0.directory=empty"], environment
    )


def test_an_error_about_several_inputs_shows_nothing_of_them(tmp_path: Path) -> None:
    posted = "{topic: a, name: NAME, http: {listen: '127.0.0.1:80', bearer.token: hush hush hush}}"
    with pytest.raises(ConfigError, match=r"two inputs listen at 127\.0\.0\.1:80; give each an address of its own$"):
        load(tmp_path, f"inputs=[{posted.replace('NAME', 'one')}, {posted.replace('NAME', 'two')}]")


def test_two_inputs_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="two inputs are named front"):
        load(tmp_path, "inputs.0.name=front", "inputs.1={tail: [/c], topic: web, name: front}")


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("{add: {a: b}, drop: [c]}", "a step is one of"),
        ("{}", "a step is one of"),
        ("{ad: {a: b}}", "did you mean add"),
        ("{filter: {}}", "`include`, `exclude` or both"),
        ("{filter: {include: {field: a}}}", "`pattern` or `equals`"),
        ("{filter: {include: {pattern: '(a'}}}", "missing"),
        ("{filter: {include: {pattern: '(?=a)'}}}", "RE2"),
        ("{sample: {keep: 1.5}}", "keep"),
        ("{rate_limit: {lines_per_second: 0}}", "lines_per_second"),
        ("{redact: {}}", "say what to hide"),
        ("{redact: {email: true, secret: short}}", "secret"),
        ("{redact: {patterns: ['(a']}}", "missing"),
        ("{python: nothing}", "module:function"),
        ("{python: 'no_such_module:f'}", "cannot be loaded"),
        ("{rate_limit: {lines_per_second: 1}}, {rate_limit: {lines_per_second: 2}}", "once"),
    ],
)
def test_a_wrong_step_is_named(tmp_path: Path, step: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        load(tmp_path, f"inputs.0.transforms=[{step}]")
    assert "inputs.0.transforms" in str(error.value)


def test_inputs_that_say_the_same_have_the_same_pipeline(tmp_path: Path) -> None:
    assert load(tmp_path).inputs[0].pipeline == AUTO
    one = load(tmp_path, "inputs.0.transforms=[{filter: {exclude: {field: level, equals: debug}}}]").inputs[0].pipeline
    other = load(tmp_path, "inputs.0.transforms=[{filter: {exclude: {equals: [debug], field: level}}}]").inputs[0].pipeline
    assert one == other != AUTO


@pytest.mark.parametrize(
    ("parse", "message"),
    [
        ("xml", "parse"),
        ("{type: regex}", "needs a `pattern`"),
        ("{type: json, pattern: '(?P<a>x)'}", "needs a `pattern`"),
        ("{type: regex, pattern: 'x'}", "named groups"),
        ("{type: regex, pattern: '(?P<a>x)(?!y)'}", "RE2"),
        ("{type: json, content: json}", "for cri"),
        ("{type: syslog, time: {field: x}}", "only `timezone`"),
        ("{time: {timezone: Mars/Olympus}}", "no time zone is called"),
        ("{charset: klingon}", "no charset is called 'klingon'"),
        ("{charset: idna}", "no charset is called 'idna'"),
        ("{charset: rot13}", "no charset is called 'rot13'"),
        ("{charset: utf-16}", "utf-16 ends lines otherwise than with the byte 0x0A"),
        ("{time: {formats: ['%H:%M']}}", "does not say a day"),
        ("{time: {zone: UTC}}", "timezone"),
    ],
)
def test_a_wrong_parser_is_named(tmp_path: Path, parse: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        load(tmp_path, f"inputs.0.parse={parse}")
    assert "inputs.0.parse" in str(error.value)


def test_a_parser_s_name_alone_is_its_definition(tmp_path: Path) -> None:
    by_name = load(tmp_path, "inputs.0.parse=json").inputs[0].pipeline
    assert by_name == load(tmp_path, "inputs.0.parse={type: json, time: {timezone: UTC}}").inputs[0].pipeline
    assert by_name == '{"parse":{"type":"json"},"version":2}'


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("topics.app={schema: acess}", "access, syslog, cri, otlp or a file"),
        ("topics.app={schema: /nowhere/x.avsc}", "No such file"),
        ("topics.other={schema: access}", "no input ships to it"),
    ],
)
def test_a_topic_s_schema_is_one_of_ours_or_a_file(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, override)


def test_a_file_that_is_no_schema_of_a_record_is_refused_with_its_name(tmp_path: Path) -> None:
    file = tmp_path / "a.avsc"
    file.write_text('{"type": "record", "name": "A", "fields": [{"name": "a", "type": "nothing"}]}')
    with pytest.raises(ConfigError, match=r"a\.avsc: no Avro schema: .*nothing"):
        load(tmp_path, f"topics.app={{schema: {file}}}")
    file.write_text('{"type": "record", "name": "A", "fields": [{"name": "a", "type": "int"}]}')
    config = load(tmp_path, f"topics.app={{schema: {file}}}")
    assert (schema_of(config, "app").type, schema_of(config, "other").type) == ("own", "envelope")

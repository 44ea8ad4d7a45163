"""What is said of a configuration that is wrong: all of it at once, each with file, line, key and what to do, in our words."""

import os
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from headrace.agents.configuration import AgentConfig
from headrace.broker.config import BrokerConfig
from headrace.config import Section, load_config
from headrace.config_keys import fields_of, without_none
from headrace.errors import ConfigError, Fault
from headrace.schemas.config import RegistryConfig
from headrace.sinks.config import LoadConfig

PYDANTIC = re.compile(
    r"[Ii]nput should|Value error|Field required|Extra inputs|String should|List should|valid (integer|number|string|list|dict)"
    r"|pydantic|errors\.|type=|function-|\[key\]|unable to|Keys should|Decimal|Tuple|Dictionary|NoneType|<class"
)
WRONG: list[Any] = [
    -1, 0, 1.5, 10**30, float("nan"), float("inf"), True, None, "", "x", "a b;c", "\0", [], ["x"], [[]], {}, {"a": "b"}, {5: 6},
    "2026-11-26", "9" * 400, [None], [-1],
]  # fmt: skip
SOUND: dict[type[Section], dict[str, Any]] = {
    AgentConfig: {
        "agent": {"state_dir": "/var/lib/agent"},
        "kafka": {"bootstrap.servers": "b1:9092"},
        "registry": {"url": "http://127.0.0.1:8081"},
        "topics": {"app": {"schema": "access"}},
        "inputs": [{"tail": ["/var/log/*.log"], "topic": "app"}],
    },
    LoadConfig: {"load": {"root": "/data"}, "kafka": {"bootstrap.servers": "b1:9092"}},
    RegistryConfig: {"kafka": {"bootstrap.servers": "b1:9092"}},
    BrokerConfig: {},
}


def faults(file: Path, model: type[Section], text: str, *overrides: str, **environment: str) -> list[Fault]:
    file.write_text(text, encoding="utf-8")
    try:
        load_config(model, file, overrides=overrides, environment=environment)
    except ConfigError as error:
        return list(error.faults)
    return []


def told(file: Path, text: str, *overrides: str) -> list[str]:
    """Of an agent's, without the folder."""
    found = faults(file, AgentConfig, text, *overrides)
    return [str(each).removeprefix(f"{file.parent}{os.sep}") for each in found]


def keys_of(kind: Any, above: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place of a model where a value may stand, entries of lists and mappings too."""
    kind = without_none(kind)
    for key, field in fields_of(kind).items():
        place = (*above, key)
        yield place
        below = without_none(field.annotation)
        arguments = getattr(below, "__args__", ())
        if fields_of(below):
            yield from keys_of(below, place)
        elif arguments and fields_of(without_none(arguments[-1])):
            yield from keys_of(arguments[-1], (*place, "app" if below.__origin__ is dict else 0))


def put(tree: Any, place: tuple[str | int, ...], value: Any) -> Any:
    """A copy of a tree with a value there."""
    if not place:
        return value
    step, *rest = place
    if isinstance(step, int):
        given = tree if isinstance(tree, list) and tree else [{}]
        return [put(given[0], tuple(rest), value), *given[1:]]
    given = dict(tree) if isinstance(tree, dict) else {}
    return {**given, step: put(given.get(step), tuple(rest), value)}


@pytest.mark.parametrize("model", SOUND)
def test_a_wrong_value_of_any_key_is_told_in_our_words_with_what_to_do(tmp_path: Path, model: type[Section]) -> None:
    bad: list[str] = []
    refused = 0
    for place in keys_of(model):
        for wrong in WRONG:
            text = yaml.safe_dump(put(SOUND[model], place, wrong))
            for fault in faults(tmp_path / "c.yaml", model, text):
                refused += 1
                line = str(fault)
                if not fault.do or not fault.what or "\n" in line or PYDANTIC.search(f"{fault.what}; {fault.do}"):
                    bad.append(f"{place} = {wrong!r}: {line}")
                if re.fullmatch(r".*c\.yaml:\d+", fault.where) is None:
                    bad.append(f"{place} = {wrong!r}: no line: {line}")
    assert not bad, "\n".join(bad[:40])
    assert refused > 15 * len(list(keys_of(model))) / 2


@pytest.mark.parametrize("model", SOUND)
def test_an_unknown_key_anywhere_says_what_to_do(tmp_path: Path, model: type[Section]) -> None:
    sections = {place[:-1] for place in keys_of(model)}
    for section in sections:
        text = yaml.safe_dump(put(SOUND[model], (*section, "no_such_key"), 1))
        found = [each for each in faults(tmp_path / "c.yaml", model, text) if each.key.endswith("no_such_key")]
        assert [(each.what, bool(each.do)) for each in found] == [("unknown key", True)], section


SECTIONS = "agent: {state_dir: /s}\nkafka: {bootstrap.servers: 'b:1'}\nregistry: http://r:1\n"


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("topic: a b", "4: inputs.0.topic: must be a topic's name, not 'a b'; write 1 to 249 letters, digits"),
        ("topic: [a]", "4: inputs.0.topic: must be a text; write a text"),
        ("topic: 5", "4: inputs.0.topic: must be a text, not 5; put it in quotes: '5'"),
        ("topic: yes", "4: inputs.0.topic: must be a text, not true; put it in quotes: 'true'"),
        ("topic: 2026-11-26", "4: inputs.0.topic: must be a text, not 2026-11-26; put it in quotes: '2026-11-26'"),
        ("topic:", "4: inputs.0.topic: it has no value; write a text, or remove the key"),
        ("topc: a", "4: inputs.0.topc: unknown key; did you mean topic?"),
        ("topic: a, tail: /var/log/a", "4: inputs.0.tail: must be a list, not '/var/log/a'; write it as [/var/log/a]"),
        ("topic: a, tail: []", "4: inputs.0.tail: must not be empty; inputs.0.tail is: globs of the files to ship"),
        ("topic: a, tail: [5]", "4: inputs.0.tail.0: must be a text, not 5; put it in quotes: '5'"),
        ("topic: a", "4: inputs.0: an input has one of tail, containers"),
        ("topic: a, decompress: maybe", "4: inputs.0.decompress: must be true or false, not 'maybe'; write true or false"),
        ("topic: a, max_line_bytes: 3", "4: inputs.0.max_line_bytes: must be at least 16, not 3; write 16 or more"),
        ("topic: a, max_line_bytes: 1.5", "4: inputs.0.max_line_bytes: must be a whole number, not 1.5; write one, as"),
        ("topic: a, parse: jsn", "parse: must be auto, json, logfmt, regex, access, syslog, audit, cri or plain, not 'jsn'"),
        ("topic: a, parse: {type: xyz}", "choose one of auto, json"),
        ("topic: a, http: 8080", "4: inputs.0.http: must be a mapping, not 8080; write it as {listen: …}"),
        ("topic: a, http: {listen: 8080}", "http.listen: must be written otherwise, not 8080; write it as host:port, like"),
        ("topic: a, http: {listen: 'a:1', path: x}", "must be a path of a URL, not 'x'; begin it with /"),
        ("topic: a, stdin: {}, exclude: [a]", "4: inputs.0.exclude: it is for inputs with tail, containers or dir"),
        ("topic: a, transforms: [{filter: {include: {equals: 5}}}]", "equals: must be a text or a list, not 5; put it"),
        ("topic: a, transforms: [{sample: {keep: 2}}]", "keep: must be less than 1.0, not 2; write a number below 1.0"),
        ("topic: a, exec: {command: [a], environment: {5: x}}", "environment.5: a key must be a text; put it in quotes"),
        ("topic: a, exec: {command: [a], environment: {A: 5}}", "environment.A: must be a text, not 5; put it in quotes: '5'"),
        ("topic: a, unix: {path: /x, mode: rw}", "mode: must be permissions in octal, not 'rw'; write them in quotes"),
        ("topic: a, http: {listen: 'a:1', bearer.token: hush}", "bearer.token: must have at least 8 characters; write more"),
    ],
)  # fmt: skip
def test_a_mistake_says_line_key_what_and_what_to_do(tmp_path: Path, key: str, says: str) -> None:
    found = told(tmp_path / "a.yaml", f"{SECTIONS}inputs: [{{{key}}}]\n")
    assert any(says in each for each in found), found
    assert not any("hush" in each for each in found)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("dead_letter.topic: x", "4: dead_letter.topic: unknown key; write it as dead_letter: {topic: …}"),
        ("topic: a", "4: topic: unknown key; did you mean topics?"),
        ("state_dir: /s", "4: state_dir: unknown key; did you mean agent.state_dir?"),
        ("max_body_bytes: 1", "4: max_body_bytes: unknown key; did you mean inputs.http.max_body_bytes?"),
        (
            "nothing_like_it: 1",
            "4: nothing_like_it: unknown key; valid keys: agent, dead_letter, inputs, kafka, registry, topics",
        ),
    ],
)
def test_an_unknown_key_says_which_is_meant_and_where_it_belongs(tmp_path: Path, text: str, says: str) -> None:
    assert f"a.yaml:{says}" in told(tmp_path / "a.yaml", SECTIONS + text + "\ninputs: [{tail: [/a], topic: a}]\n")


def test_kafkas_keys_are_written_whole(tmp_path: Path) -> None:
    text = SECTIONS.replace("bootstrap.servers: 'b:1'", "bootstrap: {servers: 'b:1'}") + "inputs: [{tail: [/a], topic: a}]\n"
    assert told(tmp_path / "a.yaml", text) == [
        "a.yaml:2: kafka.bootstrap: librdkafka's keys are written whole; write it as bootstrap.servers: …"
    ]
    [fault] = faults(tmp_path / "b.yaml", BrokerConfig, "log:\n  dirs: /d\n")
    assert str(fault).endswith("b.yaml:1: log: unknown key; its keys are written whole, as log.dirs: …")


def test_all_faults_are_told_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = (
        "agent: {state_dir: /s, grace: 5}\nkafka: {}\nregistry: r:1\ninputs:\n  - tail: /a\n    topik: a\n"
        "  - stdin: {}\n    topic: ok\n    start: end\n    exclude: [a]\n"
        "  - stdin: {}\n    topic: ${env:ABSENT}\n    stdin: {}\n"
    )
    found = faults(tmp_path / "a.yaml", AgentConfig, text, "agent.http=x", "agnt=1", "registry")
    assert [(each.where.removeprefix(f"{tmp_path}/"), each.key) for each in found] == [
        ("a.yaml:13", "inputs.2.stdin"),
        ("--set agnt", ""),
        ("--set registry", ""),
        ("a.yaml:12", "inputs.2.topic"),
        ("a.yaml:1", "agent.grace"),
        ("--set agent.http", "agent.http"),
        ("a.yaml:2", "kafka.bootstrap.servers"),
        ("a.yaml:3", "registry"),
        ("a.yaml:5", "inputs.0.tail"),
        ("a.yaml:6", "inputs.0.topik"),
        ("a.yaml:9", "inputs.1.start"),
        ("a.yaml:10", "inputs.1.exclude"),
    ]


def test_an_error_with_several_faults_goes_through_a_pickle() -> None:
    error = ConfigError(Fault("a.yaml:1", "a", "it is missing", "add it"), "b: no; mend it")
    same = pickle.loads(pickle.dumps(error))
    assert same.lines == error.lines == ("a.yaml:1: a: it is missing; add it", "b: no; mend it")
    assert str(same) == "a.yaml:1: a: it is missing; add it (and 1 more)"
    assert same.faults[1] == Fault("", "", "b: no", "mend it")

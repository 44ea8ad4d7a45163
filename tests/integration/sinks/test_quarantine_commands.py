"""Quarantined records are listed, shown, and produced again where they were."""

import json
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import yaml

from headrace.cli import main
from headrace.clock import SystemClock
from headrace.sinks.config import LoadConfig
from headrace.sinks.loader import Loader
from tests.integration.sinks.pipeline import Pipeline, lines


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    with Pipeline(tmp_path_factory.mktemp("quarantine")) as running:
        yield running


def config(pipeline: Pipeline, path: Path) -> Path:
    kafka = {"bootstrap.servers": pipeline.bootstrap}
    body = {"load": {"root": str(pipeline.root)}, "kafka": kafka, "registry": pipeline.registry_url}
    path.write_text(yaml.safe_dump(body))
    return path


def load(pipeline: Pipeline, path: Path) -> None:
    body = LoadConfig.model_validate(yaml.safe_load(path.read_text()))
    Loader(body, SystemClock(), once=True, landed=str, rewind=None).run(Event())


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    assert main(["quarantine", *arguments]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_records_are_listed_by_reason_shown_whole_and_replayed_to_their_partition(
    pipeline: Pipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.create_topic("app", partitions=2)
    pipeline.ship("app", lines(5), partition=0)
    bad = b"\0\0\0\0\x63no such schema \xff"
    for n in range(3):
        pipeline.producer.produce(
            "app", bad, key=b"k%d" % n, partition=1, headers=[("h", b"1")], timestamp=1_790_000_000_000 + n
        )
    pipeline.producer.flush()
    path = config(pipeline, tmp_path / "load.yaml")
    load(pipeline, path)
    root = ["--root", str(pipeline.root)]
    (row,) = told(capsys, "list", *root, "--format", "json")
    assert (row["topic"], row["count"], row["last_ms"] - row["first_ms"]) == ("app", 3, 2)
    (shown,) = told(capsys, "show", "app", *root, "--partition", "1", "--offset", "1")
    assert (shown["key_text"], shown["value_text"], shown["offset"]) == ("k1", None, 1)
    assert main(["quarantine", "replay", "app", "--config", str(path), "--partition", "1", "--offset", "2"]) == 0
    assert capsys.readouterr().out == "1 records replayed to app\n"
    load(pipeline, path)
    again = told(capsys, "show", "app", *root, "--partition", "1", "--offset", "3")[0]
    assert (again["key_text"], again["value"], again["headers"][0][0]) == ("k2", shown["value"], "h")
    assert [name for name, _ in again["headers"]] == ["h", "headrace-replayed"]


def test_wrong_usage_is_refused(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline.root.mkdir(exist_ok=True)
    root = ["--root", str(pipeline.root)]
    assert main(["quarantine", "show", "none", *root]) == 2
    assert "no table 'none'" in capsys.readouterr().err
    assert main(["quarantine", "show", "app", *root, "--offset", "3"]) == 2
    assert "--offset needs --partition" in capsys.readouterr().err
    for name in ("", "bad topic"):
        assert main(["quarantine", "replay", "app", *root, "--config", "load.yaml", "--topic", name]) == 2
        assert f"--topic {name!r}: a topic's name has only" in capsys.readouterr().err
    assert main(["quarantine", "list", *root]) == 0
    assert main(["quarantine", "list", "--root", ""]) == 2
    assert "empty name; give a path, or a URL" in capsys.readouterr().err

"""A real loader beside tables that it cannot work on: the others land, it says which do not, and those go on once mended."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.sinks.pipeline import Pipeline
from tests.integration.sinks.test_lag import lag
from tests.processes import Part

TOPICS = ("sound", "torn", "odd", "blocked")


class Damage:
    """Three tables, each damaged in its own way; `unblock` and `mend` put them back."""

    def __init__(self, root: Path) -> None:
        self._records = {topic: root / topic / "_headrace/log/g000001/00000000000000000000.json" for topic in ("torn", "odd")}
        self._sound = {topic: path.read_bytes() for topic, path in self._records.items()}
        self._records["torn"].write_bytes(self._sound["torn"][:-20])
        odd = json.loads(self._sound["odd"])
        nobody_foresaw = {"agent": "a", "window_start_ms": 0, "count": 1, "bytes": 1, "hash": "no number", "duplicates": 0}
        odd["audit"] = [nobody_foresaw]
        self._records["odd"].write_text(json.dumps(odd))
        self._in_the_way, self._aside = root / "blocked", root.parent / "aside"
        self._in_the_way.rename(self._aside)
        self._in_the_way.write_text("a file where the table's folder was")

    def unblock(self) -> None:
        self._in_the_way.unlink()
        self._aside.rename(self._in_the_way)

    def mend(self) -> None:
        for topic, path in self._records.items():
            path.write_bytes(self._sound[topic])


def readiness(part: Part) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{part.ports['http']}/readyz", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def failing(part: Part) -> set[str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{part.ports['http']}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return {topic for topic in TOPICS if f'headrace_load_failing{{topic="{topic}"}} 1.0' in lines}


def wait_for(what: Callable[[], Any], part: Part) -> None:
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline, part.log_tail()
        time.sleep(0.05)


@pytest.mark.slow
def test_tables_that_cannot_be_landed_in_keep_no_other_from_landing_and_go_on_once_they_are_mended(tmp_path: Path) -> None:
    with Pipeline(tmp_path, group_initial_rebalance_delay_ms=0) as pipeline:
        for topic in TOPICS:
            pipeline.produce(topic, [b"one", b"two"])
        pipeline.load_once()
        damage = Damage(pipeline.root)
        for topic in TOPICS:
            pipeline.produce(topic, [b"three"])

        run = pipeline.loader("--once", name="once").start(wait=False)
        assert run.wait() == 1
        said = run.log_tail().splitlines()[-1]
        assert said.startswith("headrace load: not landed: ")
        assert all(f"table {pipeline.root / topic}" in said for topic in ("torn", "odd", "blocked"))
        assert len(pipeline.rows("sound")) == 3
        behind = lag(run.config_file, "--format", "json")
        assert behind.returncode == 1
        shown = [json.loads(line) for line in behind.stdout.splitlines()]
        assert {row["topic"]: row["landed_offset"] for row in shown} == {"sound": 3, "torn": None, "odd": None, "blocked": 0}
        assert "table torn: " in behind.stderr

        damage.unblock()
        loader = pipeline.loader(name="on", rotate={"age": "1s"}, http="127.0.0.1:0").start()
        pipeline.produce("sound", [b"four"])
        pipeline.wait_for_rows("sound", 4)
        pipeline.wait_for_rows("blocked", 3)
        wait_for(lambda: failing(loader) == {"torn", "odd"}, loader)
        status, why = readiness(loader)
        assert status == 503
        assert "odd does not land" in why
        damage.mend()
        for topic in TOPICS:
            pipeline.wait_for_rows(topic, 4 if topic == "sound" else 3)
        wait_for(lambda: not failing(loader), loader)
        assert readiness(loader)[0] == 200
        assert loader.stop() == 0
        lines = [json.loads(line) for line in loader.log_file.read_text().splitlines()]
        errors = {line["topic"]: line for line in lines if line["level"] == "error"}
        assert "Traceback" in errors["odd"]["exception"]
        assert "run: headrace check" in errors["torn"]["msg"]
        for topic in TOPICS:
            assert [row["_offset"] for row in pipeline.rows(topic)] == list(range(4 if topic == "sound" else 3))
        pipeline.assert_sound()

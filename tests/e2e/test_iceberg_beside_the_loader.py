"""A running loader keeps Iceberg tables up to what it lands, and lands whatever becomes of them."""

import json
import time
from pathlib import Path

import pytest
from pyiceberg.exceptions import NoSuchTableError

from headrace.cli import main
from headrace.sinks.table import reader
from tests.integration.sinks.pipeline import Pipeline, lines
from tests.integration.sinks.test_iceberg import landed, offsets, opened


@pytest.mark.slow
def test_what_the_loader_lands_is_in_iceberg_soon_and_all_of_it_when_it_has_ended(tmp_path: Path) -> None:
    with Pipeline(tmp_path) as pipeline:
        pipeline.ship("logs", lines(500, step_ms=60_000))
        pipeline.load_once(iceberg={})
        assert offsets(opened(pipeline.root).scan().to_arrow()) == landed(pipeline.root)
        loader = pipeline.loader(rotate={"age": "100ms"}, iceberg={"interval": "50ms"}).start()
        pipeline.ship("logs", lines(200, start=500))
        deadline = time.monotonic() + 30
        while opened(pipeline.root).scan().to_arrow().num_rows < 700:
            assert time.monotonic() < deadline, loader.log_tail()
            time.sleep(0.1)
        pipeline.ship("logs", lines(100, start=700))
        pipeline.wait_for_rows("logs", 800)
        loader.stop()
        assert offsets(opened(pipeline.root).scan().to_arrow()) == landed(pipeline.root)
        pipeline.assert_sound()


@pytest.mark.slow
def test_a_rewound_table_is_shown_as_its_new_generation(tmp_path: Path) -> None:
    with Pipeline(tmp_path) as pipeline:
        pipeline.ship("logs", lines(300, step_ms=60_000))
        pipeline.load_once(iceberg={})
        before = {task.file.file_path for task in opened(pipeline.root).scan().plan_files()}
        rewind = pipeline.loader("--rewind", "logs", "--to", "0:100").start(wait=False)
        assert rewind.wait(60) == 0, rewind.log_tail()
        assert reader.snapshot(pipeline.root, "logs").generation == 2
        assert main(["iceberg", "sync", str(pipeline.root)]) == 0
        table = opened(pipeline.root)
        assert table.properties["headrace.generation"] == "2"
        assert offsets(table.scan().to_arrow()) == landed(pipeline.root)
        assert before != {task.file.file_path for task in table.scan().plan_files()}
        pipeline.assert_sound()


@pytest.mark.slow
def test_a_catalog_out_of_reach_keeps_nothing_from_landing_and_is_made_good_by_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Pipeline(tmp_path) as pipeline:
        pipeline.ship("logs", lines(300))
        pipeline.load_once(iceberg={"catalog": {"type": "rest", "uri": "http://127.0.0.1:9"}})
        assert "the iceberg table stays behind" in pipeline.parts[-1].log()
        assert len(landed(pipeline.root)) == 300
    root = str(pipeline.root)
    assert main(["iceberg", "status", root, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["behind"] == 1
    assert main(["iceberg", "sync", root, "--format", "json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert (row["topic"], row["behind"], row["rows"], row["error"]) == ("logs", 0, 300, None)
    assert offsets(opened(pipeline.root).scan().to_arrow()) == landed(pipeline.root)
    assert main(["iceberg", "drop", root, "--topic", "logs", "--topic", "lgos"]) == 2
    assert "no table 'lgos'; did you mean logs" in capsys.readouterr().err
    (pipeline.root / "logs").rename(tmp_path / "gone")  # what has landed is gone, and the Iceberg table is to go too
    assert main(["iceberg", "drop", root, "--topic", "logs"]) == 0
    (tmp_path / "gone").rename(pipeline.root / "logs")
    with pytest.raises(NoSuchTableError):
        opened(pipeline.root)
    assert main(["iceberg", "sync", root, "--topic", "lgos"]) == 2
    assert "did you mean logs" in capsys.readouterr().err
    assert main(["iceberg", "sync", root, "--catalog", "elsewhere"]) == 2
    assert "--catalog elsewhere: pyiceberg's configuration names no such catalog" in capsys.readouterr().err
    assert main(["iceberg", "sync", root, "--property", "type"]) == 2

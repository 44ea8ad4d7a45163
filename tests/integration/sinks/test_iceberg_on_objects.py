"""Iceberg tables over landed ones on S3: read by pyiceberg's own client, also what has been merged meanwhile."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.clock import SystemClock
from headrace.sinks.compaction.compact import compact_table
from headrace.sinks.compaction.plan import Limits
from headrace.sinks.iceberg.config import Iceberg
from headrace.sinks.iceberg.tables import Projection
from headrace.sinks.stores.roots import Root, open_root
from headrace.sinks.table import names, upkeep
from headrace.sinks.table.commit import read_head
from headrace.sinks.table.store import Store, carry_out
from tests.integration.sinks.test_iceberg import HOUR, events, offsets, opened
from tests.landed_tables import TableWriter


def upload(directory: Path, store: Store) -> None:
    """Put what is new of a local table into a store: data before the records that name it."""
    for path in sorted(directory.rglob("*"), key=lambda path: names.LOG in str(path)):
        name = str(path.relative_to(directory))
        if path.is_file() and store.sizes((name,)) == (None,):
            file = store.create(name)
            file.write(path.read_bytes())
            file.finish()


@pytest.fixture(params=["moto", "versitygw"])
def landed_on_s3(
    request: pytest.FixtureRequest, tmp_path: Path, new_root: Callable[[str], str]
) -> tuple[Root, dict[str, Any], dict[str, str]]:
    """A table of three files in one hour, its Iceberg configuration, and what its readers need to know."""
    url = new_root(request.param)
    logs = TableWriter(tmp_path, "logs")
    for first in (0, 20, 40):
        logs.land_events(events(first, 20))
    upload(tmp_path / "logs", open_root(url).table("logs"))
    catalog = {"type": "sql", "uri": f"sqlite:///{tmp_path / 'catalog.db'}"}
    endpoint = url.partition("endpoint=")[2].partition("&")[0]
    return open_root(url), {"catalog": catalog}, {**catalog, "s3.endpoint": endpoint, "s3.region": "us-east-1"}


def test_snapshots_stay_readable_through_a_compaction_and_let_go_of_files_in_the_end(
    tmp_path: Path, landed_on_s3: tuple[Root, dict[str, Any], dict[str, str]]
) -> None:
    root, config, reader = landed_on_s3
    store, projection = root.table("logs"), Projection(Iceberg(**config), str(root), SystemClock())
    everything = [(0, 0, offset) for offset in range(60)]
    assert projection.sync("logs").added == 3
    before = opened(tmp_path, **reader)
    compact_table(str(root), "logs", Limits(target_bytes=1 << 20, closed_for_ms=HOUR), SystemClock(), progress=lambda _: None)
    assert offsets(opened(tmp_path, **reader).scan().to_arrow()) == everything
    done = projection.sync("logs")
    assert (done.added, done.removed) == (1, 3)
    assert offsets(before.scan().to_arrow()) == offsets(opened(tmp_path, **reader).scan().to_arrow()) == everything
    assert not store.list(names.REMOVED, after="", recursive=True)

    projection.drop("logs")
    carry_out(upkeep.sweep(stages=store.stages), store)
    fold = carry_out(read_head(), store)
    assert all(size is not None for size in store.sizes(tuple(fold.files)))

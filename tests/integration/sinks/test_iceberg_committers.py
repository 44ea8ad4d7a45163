"""Committers of one Iceberg table as processes: several at once, and killed at any moment."""

import json
import random
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.exceptions import NoSuchTableError

from headrace.errors import PeerError
from tests.iceberg_catalogs import PASSWORD
from tests.integration.sinks.test_iceberg import events, landed, offsets, opened, sync
from tests.landed_tables import TableWriter

_COMMITTER = """
import json
import sys
from pathlib import Path
from headrace.clock import SystemClock
from headrace.errors import HeadraceError
from headrace.sinks.iceberg.config import Iceberg
from headrace.sinks.iceberg.tables import Projection
projection = None
print("up", flush=True)
while True:
    try:
        projection = projection or Projection(Iceberg(**json.loads(sys.argv[2])), Path(sys.argv[1]), SystemClock())
        projection.sync("logs")
    except HeadraceError as error:
        print(error, flush=True)
"""


def test_committers_of_a_hive_metastore_at_the_same_time_show_each_file_once(
    tmp_path: Path, iceberg_catalog: Callable[[str], dict[str, str]]
) -> None:
    config = {"catalog": iceberg_catalog("hive"), "namespace": f"n{uuid.uuid4().hex}"}
    logs = TableWriter(tmp_path, "logs")
    with ThreadPoolExecutor(2) as threads:
        for first in range(0, 15, 5):
            logs.land_events(events(first, 5))
            assert {done.marks.seq for done in threads.map(lambda _: sync(tmp_path, **config), range(2))} == {first // 5}
    table = opened(tmp_path, namespace=config["namespace"], **config["catalog"])
    assert offsets(table.scan().to_arrow()) == landed(tmp_path)
    assert [field.name for field in table.spec().fields] == ["event_time_hour"]


def test_a_wrong_password_of_a_database_is_an_error_that_does_not_say_it(
    tmp_path: Path, iceberg_catalog: Callable[[str], dict[str, str]]
) -> None:
    properties = iceberg_catalog("postgres")
    wrong = properties | {"uri": properties["uri"].replace(PASSWORD, "hunter2")}
    TableWriter(tmp_path, "logs").land_events(events(0, 5))
    with pytest.raises(PeerError, match="password authentication failed") as caught:
        sync(tmp_path, catalog=wrong)
    assert "hunter2" not in str(caught.value)


class Committer:
    """A process that syncs again and again; what it says is in a file of its own."""

    def __init__(self, root: Path, config: dict[str, Any]) -> None:
        self.said = root / f"said-{uuid.uuid4().hex}.txt"
        with self.said.open("wb") as said:
            command = [sys.executable, "-c", _COMMITTER, str(root), json.dumps(config)]
            self._process = subprocess.Popen(command, stdout=said, stderr=said)

    @property
    def is_up(self) -> bool:
        return self.said.stat().st_size > 0

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "kills"), [("sqlite", 6), ("rest", 4), ("postgres", 4)])
def test_committers_that_are_killed_again_and_again_show_each_file_once(
    tmp_path: Path, iceberg_catalog: Callable[[str], dict[str, str]], kind: str, kills: int
) -> None:
    rng = random.Random(4)
    config = {"catalog": iceberg_catalog(kind), "namespace": f"n{uuid.uuid4().hex}"}
    logs = TableWriter(tmp_path, "logs")
    running = [Committer(tmp_path, config) for _ in range(2)]
    first = 0
    try:
        while kills or snapshots(tmp_path, config) < 4:
            logs.land_events(events(first, 3))
            first += 3
            time.sleep(rng.uniform(0, 0.1))
            victim = rng.randrange(2)
            if kills and running[victim].is_up and rng.random() < 0.3:
                running[victim].kill()
                running[victim] = Committer(tmp_path, config)
                kills -= 1
    finally:
        for one in running:
            one.kill()
    sync(tmp_path, **config)
    table = opened(tmp_path, namespace=config["namespace"], **config["catalog"])
    paths = Counter(task.file.file_path for task in table.scan().plan_files())
    assert set(paths.values()) == {1}
    assert offsets(table.scan().to_arrow()) == landed(tmp_path)
    assert not any(PASSWORD in file.read_text() for file in tmp_path.glob("said-*"))


def snapshots(root: Path, config: dict[str, Any]) -> int:
    try:
        return len(opened(root, namespace=config["namespace"], **config["catalog"]).snapshots())
    except NoSuchTableError:
        return 0

"""Servers that a module's tests share, and a rig of each test's own before them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.agents.rig import Rig, rig, servers
from tests.processes import Part


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Part, Part]]:
    with servers(tmp_path_factory.mktemp("servers")) as started:
        yield started


@pytest.fixture
def parts(tmp_path: Path, running: tuple[Part, Part]) -> Iterator[Rig]:
    with rig(tmp_path, running) as ours:
        yield ours

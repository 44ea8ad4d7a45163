"""Servers that a module's tests share, a rig of each test's own before them, and file systems."""

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from tests.integration.agents.file_systems import Mounting
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


@pytest.fixture
def mounting(missing: Callable[[str, str], NoReturn]) -> Iterator[Mounting]:
    """`mounting(place, "-t", "tmpfs", "-o", "size=4m", "tmpfs")`: makes the place, and mounts there."""
    with contextlib.ExitStack() as mounted:

        def mount(place: Path, *arguments: str) -> Path:
            place.mkdir(exist_ok=True)
            if subprocess.run(["mount", *arguments, str(place)], capture_output=True, check=False).returncode:
                missing("mount", "run as root, where file systems may be mounted")
            mounted.callback(subprocess.run, ["umount", "--lazy", str(place)], check=False)
            return place

        yield mount

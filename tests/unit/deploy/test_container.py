"""deploy/**/container: the linter of container files finds nothing, and what is copied is there. No image is built here."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
import yaml

REPOSITORY = Path(__file__).parents[3]
CONTAINERFILES = [REPOSITORY / "deploy" / folder / "Containerfile" for folder in ("agent/container", "container")]
HADOLINT = REPOSITORY / ".peers" / "hadolint" / "bin" / "hadolint"


@pytest.fixture(params=CONTAINERFILES, ids=lambda file: str(file.parent.relative_to(REPOSITORY / "deploy")))
def containerfile(request: pytest.FixtureRequest) -> Path:
    file: Path = request.param
    return file


def test_hadolint_finds_nothing(containerfile: Path, missing: Callable[[str, str], NoReturn]) -> None:
    if not HADOLINT.exists():
        missing("hadolint", "run make peers")
    done = subprocess.run([str(HADOLINT), str(containerfile)], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_everything_that_is_copied_from_the_repository_is_there_and_let_in(containerfile: Path) -> None:
    copied = [
        word
        for line in re.findall(r"^COPY (?!--)(.*)$", containerfile.read_text(), flags=re.MULTILINE)
        for word in line.split()[:-1]
    ]
    let_in = {
        line[1:] for line in containerfile.with_name("Containerfile.dockerignore").read_text().splitlines() if line[0] == "!"
    }
    assert set(copied) == let_in
    assert all((REPOSITORY / name).exists() for name in copied)


def test_every_part_of_the_package_is_copied(containerfile: Path) -> None:
    links = {link.readlink().name for link in (REPOSITORY / "headrace").iterdir() if link.is_symlink()}
    copied = set(re.findall(r"^COPY (\S+) \1$", containerfile.read_text(), flags=re.MULTILINE))
    assert copied == links | {"headrace"}


def test_the_arguments_of_manifests_are_commands_of_the_image_that_they_name() -> None:
    entry = {"headrace-agent": ["headrace", "agent", "--config", "/etc/headrace/agent.yaml"], "headrace": ["headrace"]}
    said = [re.findall(r"^ENTRYPOINT (.*)$", file.read_text(), flags=re.MULTILINE) for file in CONTAINERFILES]
    assert [yaml.safe_load(one) for (one,) in said] == list(entry.values())
    for manifest in (REPOSITORY / "deploy").glob("*/kubernetes/*.yaml"):
        for image, args in re.findall(r"^ +image: (\S+)\n +args: (\[.*\])$", manifest.read_text(), flags=re.MULTILINE):
            first = yaml.safe_load(args)[0]
            assert first.startswith("--") if image == "headrace-agent" else first in ("audit", "nightly"), manifest

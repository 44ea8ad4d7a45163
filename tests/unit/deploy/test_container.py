"""deploy/agent/container: the linter of container files finds nothing, and what is copied is there. No image is built here."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

REPOSITORY = Path(__file__).parents[3]
CONTAINERFILE = REPOSITORY / "deploy" / "agent" / "container" / "Containerfile"
HADOLINT = REPOSITORY / ".peers" / "hadolint" / "bin" / "hadolint"


def test_hadolint_finds_nothing(missing: Callable[[str, str], NoReturn]) -> None:
    if not HADOLINT.exists():
        missing("hadolint", "run make peers")
    done = subprocess.run([str(HADOLINT), str(CONTAINERFILE)], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_everything_that_is_copied_from_the_repository_is_there_and_let_in() -> None:
    copied = [
        word
        for line in re.findall(r"^COPY (?!--)(.*)$", CONTAINERFILE.read_text(), flags=re.MULTILINE)
        for word in line.split()[:-1]
    ]
    let_in = {
        line[1:] for line in CONTAINERFILE.with_name("Containerfile.dockerignore").read_text().splitlines() if line[0] == "!"
    }
    assert set(copied) == let_in
    assert all((REPOSITORY / name).exists() for name in copied)


def test_every_part_of_the_package_is_copied() -> None:
    links = {link.readlink().name for link in (REPOSITORY / "headrace").iterdir() if link.is_symlink()}
    copied = set(re.findall(r"^COPY (\S+) \1$", CONTAINERFILE.read_text(), flags=re.MULTILINE))
    assert copied == links | {"headrace"}

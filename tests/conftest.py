"""What every test may ask for, and how generated tests draw.

`missing(name, remedy)` skips, or fails where HEADRACE_REQUIRE says that a peer must be there. Hypothesis draws the same
examples in every run, so that a red build can be repeated; HEADRACE_RANDOM=1 draws new ones.

The hundreds of processes that tests start keep what they compile, whatever the environment says, and do without Hypothesis.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import settings

settings.register_profile("repeatable", derandomize=not os.environ.get("HEADRACE_RANDOM"), deadline=None)
settings.load_profile("repeatable")

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(Path(__file__).parent / "without_hypothesis"), *filter(None, [os.environ.get("PYTHONPATH")])]
)


@pytest.fixture(scope="session")
def missing() -> Callable[[str, str], NoReturn]:
    """`missing("kafka", "run make peers")`: skip, saying what is missing; fail if HEADRACE_REQUIRE names it or says `all`."""

    def say(peer: str, remedy: str) -> NoReturn:
        required = os.environ.get("HEADRACE_REQUIRE", "").split(",")
        if peer in required or "all" in required:
            pytest.fail(f"{peer} is required (HEADRACE_REQUIRE) and missing: {remedy}")
        pytest.skip(f"{peer} is missing: {remedy}")

    return say

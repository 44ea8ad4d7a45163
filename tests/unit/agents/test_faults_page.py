"""docs/agent-faults.md is true: the files that it names are there, and hold tests of the fault's number."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]
PAGE = (TESTS.parent / "docs" / "agent-faults.md").read_text()


def rows() -> list[tuple[int, list[str]]]:
    """Number of the fault, and the paths that a row of the table names; a row without a number goes on with the one before."""
    found: list[tuple[int, list[str]]] = []
    for number, tests in re.findall(r"^\| *(\d*) *\|.*\|([^|]*)\|$", PAGE, re.MULTILINE):
        found.append((int(number or found[-1][0]), re.findall(r"`((?:unit|sim|integration)/[^`]+)`", tests)))
    return found


def test_all_twenty_are_there() -> None:
    assert sorted({number for number, _ in rows()}) == list(range(1, 21))


@pytest.mark.parametrize(("number", "paths"), rows())
def test_what_a_row_names_is_there_and_one_of_it_bears_the_number(number: int, paths: list[str]) -> None:
    assert all((TESTS / path).exists() for path in paths)
    files = [path for path in paths if path.endswith(".py") and not path.startswith("unit")]
    assert all(f"def test_fault_{number:02}_" in (TESTS / path).read_text() for path in files)

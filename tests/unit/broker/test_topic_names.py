"""Kafka's rules for the names of topics."""

import pytest

from headrace.broker.topic_names import colliding_name, name_fault


@pytest.mark.parametrize("name", ["a", "A-z_0.9", "_schemas", "...", "x" * 249])
def test_good_names(name: str) -> None:
    assert name_fault(name) is None


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (None, "not empty"),
        ("", "not empty"),
        (".", "no topic"),
        ("..", "no topic"),
        ("x" * 250, "249"),
        ("a b", "ASCII"),
        ("é", "ASCII"),
    ],
)
def test_bad_names_and_why(name: str | None, said: str) -> None:
    assert said in (name_fault(name) or "")


def test_names_that_differ_in_dots_and_underscores_collide() -> None:
    assert colliding_name("a.b_c", ["x", "a_b.c"]) == "a_b.c"
    assert colliding_name("a.b", ["a.b", "a-b"]) is None

"""Tables for people: what a narrow terminal makes of them."""

from io import StringIO

from rich.console import Console

from headrace.agents.operate.printing import counted, table_of

ROWS = [
    {
        "topic": "app",
        "path": "/var/log/a/folder/of/an/application/access.log",
        "size": 123_456_789,
        "state": "goes on",
        "why": "",
    },
    {"topic": "app", "path": "/var/log/b.log", "size": 7, "state": "left", "why": None},
]


def printed(width: int, *columns: str, **more: tuple[str, ...]) -> list[str]:
    out = StringIO()
    Console(file=out, width=width).print(table_of(ROWS, columns, {}, **more))
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_a_narrow_terminal_breaks_long_texts_and_no_number_or_word() -> None:
    lines = printed(45, "topic", "path", "size", "state")
    assert max(map(len, lines)) <= 45
    assert lines[2].endswith("  123,456,789  goes on")
    folded = [line.split()[1 if line.startswith("app") else 0] for line in lines[2:-1]]
    assert "".join(folded) == ROWS[0]["path"]


def test_a_column_in_which_no_row_says_anything_is_left_out() -> None:
    assert printed(80, "topic", "size", "why")[0].split() == ["topic", "size"]


def test_texts_of_numbers_stand_to_the_right_where_that_is_asked_for() -> None:
    assert printed(80, "topic", "state", right=("state",))[-1] == "app       left"


def test_one_is_no_plural() -> None:
    assert [counted(n, "stream") for n in (0, 1, 2_000)] == ["0 streams", "1 stream", "2,000 streams"]

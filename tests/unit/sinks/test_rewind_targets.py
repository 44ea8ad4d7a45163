"""Where `--to` of a rewind goes back to."""

import pytest

from headrace.errors import UsageError
from headrace.sinks.rewind_targets import To, parse_to

NOW_MS = 1_790_000_000_000


@pytest.mark.parametrize(
    ("text", "to"),
    [
        ("beginning", To()),
        ("0:100,3:2500", To(offsets={0: 100, 3: 2500})),
        ("2026-09-21T13:00", To(time_ms=1_789_995_600_000)),
        ("36h", To(time_ms=NOW_MS - 36 * 3_600_000)),
    ],
)
def test_the_beginning_offsets_and_times_are_places_to_go_back_to(text: str, to: To) -> None:
    assert parse_to(text, NOW_MS) == to


@pytest.mark.parametrize("text", ["", "0:-1", "0:1,", "yesterday", "2026-13-45"])
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--to"):
        parse_to(text, NOW_MS)


def test_a_partition_that_is_named_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="--to 0:1,00:2: a partition is named twice"):
        parse_to("0:1,00:2", NOW_MS)

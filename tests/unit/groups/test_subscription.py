"""The topics in a consumer's metadata."""

import pytest

from headrace.broker.groups.subscription import subscribed_topics


def test_topics_are_read_whatever_follows_them() -> None:
    metadata = bytes.fromhex("0003 00000002 0001 61 0002 6262 ffffffff 00000000 00000007")
    assert subscribed_topics(metadata) == {"a", "bb"}


@pytest.mark.parametrize(
    "metadata", ["", "0000", "0000 00000001", "0000 00000001 0005 61", "0000 00000001 ffff", "0000 00000001 0001 ff"]
)
def test_bytes_that_are_no_subscription_are_not_known(metadata: str) -> None:
    assert subscribed_topics(bytes.fromhex(metadata)) is None

"""Which loaders meet in a group."""

import pytest

from headrace.sinks.membership import PREFIX, group_of


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("/srv/landed", "/srv/landed/"),
        ("/srv/landed", "file:///srv/landed"),
        ("hdfs://nn:8020/landed", "hdfs://nn:8020/landed?client=libhdfs"),
        ("s3://bucket/landed", "s3://bucket/landed/"),
    ],
)
def test_one_root_has_one_group_however_it_is_written(one: str, other: str) -> None:
    assert group_of(one) == group_of(other)


def test_two_roots_never_have_the_same_group() -> None:
    roots = ["/srv/landed", "/srv/landed2", "s3://bucket/landed", "s3://bucket/other", "hdfs://a/landed", "hdfs://b/landed"]
    assert len({group_of(root) for root in roots}) == len(roots)
    assert all(group_of(root).startswith(f"{PREFIX}-") for root in roots)


def test_a_relative_root_is_one_of_its_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    assert group_of("tmp/landed") == group_of("/tmp/landed")

"""Real object stores that answer late, not at all, or not as they must: what the loader makes of it."""

from collections.abc import Callable, Iterator

import pytest

from headrace.sinks.stores.roots import open_root
from headrace.sinks.table.store import Put
from tests.integration.sinks.pipeline import Pipeline
from tests.object_stores import ObjectStoreServer
from tests.store_proxy import Fate, Request, StoreProxy

Serve = Callable[[str], ObjectStoreServer]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    with Pipeline(tmp_path_factory.mktemp("unreliable")) as running:
        yield running


@pytest.fixture
def proxied(object_store: Serve, new_root: Callable[[str], str]) -> Iterator[Callable[[str], tuple[str, StoreProxy]]]:
    """The URL of an empty root on a store of some kind, asked through a proxy."""
    proxies = []

    def through(kind: str) -> tuple[str, StoreProxy]:
        port = object_store(kind).port
        proxies.append(StoreProxy(port).__enter__())
        return new_root(kind).replace(f":{port}", f":{proxies[-1].port}"), proxies[-1]

    yield through
    for proxy in proxies:
        proxy.__exit__()


Proxied = Callable[[str], tuple[str, StoreProxy]]


def commits(*fates: Fate) -> Callable[[Request], Fate]:
    """The fates of the puts of records, in turn; those after them pass, as does all else."""
    left = list(fates)
    return lambda request: left.pop(0) if request.is_commit and left else Fate.PASS


def test_a_store_that_knows_no_conditional_put_is_refused(proxied: Proxied, pipeline: Pipeline) -> None:
    url, proxy = proxied("moto")

    def forget_the_condition(request: Request) -> Fate:
        for name in [name for name in request.headers if name.lower() == "if-none-match"]:
            del request.headers[name]
        return Fate.PASS

    proxy.rule = forget_the_condition
    loader = pipeline.loader("--once", root=url).start(wait=False)
    assert loader.wait() == 2
    assert "its second put of one name was not refused: without a conditional put (If-None-Match)" in loader.log_tail()


@pytest.mark.parametrize("kind", ["moto", "versitygw", "azurite"])
@pytest.mark.parametrize(
    "fates", [(Fate.LOSE_ANSWER,), (Fate.LOSE_REQUEST,), (Fate.CONFLICT, Fate.CONFLICT), (Fate.CONFLICT, Fate.LOSE_ANSWER)]
)
def test_a_put_that_was_not_answered_or_met_a_conflict_is_put_until_it_is_known_whose_it_is(
    proxied: Proxied, kind: str, fates: tuple[Fate, ...]
) -> None:
    url, proxy = proxied(kind)
    store, path = open_root(url).table("table"), "_headrace/log/g000001/0.json"
    proxy.rule = commits(*fates)
    answers = [store.put_if_absent(path, b"mine")]
    while answers[-1] is Put.UNKNOWN:
        answers.append(store.put_if_absent(path, b"mine"))
    assert answers[-1] is (Put.EXISTS if Fate.LOSE_ANSWER in fates else Put.CREATED)
    assert store.get((path,)) == (b"mine",)
    assert store.put_if_absent(path, b"another's") is Put.EXISTS

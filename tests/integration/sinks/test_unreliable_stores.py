"""Real object stores that answer late, not at all, or not as they must: what the loader makes of it."""

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from threading import Event, Thread

import pytest

from headrace import cli
from headrace.clock import SystemClock
from headrace.errors import StorageError
from headrace.sinks.check import check_root
from headrace.sinks.config import LoadConfig
from headrace.sinks.loader import Loader
from headrace.sinks.stores import objects
from headrace.sinks.stores.roots import open_root
from headrace.sinks.table.store import Put
from tests.integration.sinks.pipeline import Pipeline
from tests.landed_rows import offsets
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
    assert "its second put of one name was not refused: without a conditional put (If-None-Match)" in loader.log()


@pytest.mark.parametrize("kind", ["moto", "versitygw", "azurite", "fake-gcs-server"])
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


@pytest.mark.parametrize("kind", ["versitygw", "azurite", "fake-gcs-server"])
def test_a_put_that_is_refused_after_one_that_was_not_answered_may_have_happened(proxied: Proxied, kind: str) -> None:
    url, proxy = proxied(kind)
    store, path = open_root(url).table("table"), "_headrace/log/g000001/0.json"
    proxy.rule = commits(Fate.REFUSE)
    with pytest.raises(StorageError):
        store.put_if_absent(path, b"mine")
    proxy.rule = commits(Fate.LOSE_ANSWER, *[Fate.REFUSE] * 5)
    assert store.put_if_absent(path, b"mine") is Put.UNKNOWN
    assert store.get((path,)) == (b"mine",)


def is_landed_once(url: str, topics: list[str], each: int) -> None:
    for topic in topics:
        assert offsets(url, topic) == Counter((0, offset) for offset in range(each))
    for report in check_root(url, deep=True):
        assert not report.broken, report.broken


def test_answers_lost_and_conflicts_met_while_landing_neither_lose_nor_repeat_rows(
    proxied: Proxied, pipeline: Pipeline
) -> None:
    url, proxy = proxied("versitygw")
    pipeline.create_topic("shaky")
    proxy.rule = commits(Fate.LOSE_ANSWER, Fate.CONFLICT, Fate.LOSE_REQUEST, Fate.PASS, Fate.LOSE_ANSWER, Fate.CONFLICT)
    body = {"load": {"root": url, "topics": ["shaky"]}, "kafka": {"bootstrap.servers": pipeline.bootstrap}}
    for _ in range(4):
        pipeline.produce("shaky", (b"%d" % n for n in range(100)))
        Loader(LoadConfig.model_validate(body), SystemClock(), once=True, landed=str, rewind=None).run(Event())
    assert set(proxy.fates) == set(Fate) - {Fate.HANG, Fate.REFUSE}
    is_landed_once(url, ["shaky"], 400)


def test_a_loader_whose_put_is_never_answered_ends_when_asked_and_its_rows_land_at_the_next_start(
    proxied: Proxied, pipeline: Pipeline
) -> None:
    url, proxy = proxied("versitygw")
    pipeline.create_topic("unanswered")
    pipeline.produce("unanswered", (b"%d" % n for n in range(100)))
    proxy.rule = lambda request: Fate.LOSE_REQUEST if request.is_commit else Fate.PASS
    loader = pipeline.loader(root=url, topics=["unanswered"], rotate={"age": "100ms"}).start()
    deadline = time.monotonic() + 30
    while Fate.LOSE_REQUEST not in proxy.fates:
        assert time.monotonic() < deadline, loader.log_tail()
        time.sleep(0.02)
    assert loader.stop(15) == 0
    assert "a put was not answered before the end" in loader.log()
    proxy.rule = commits()
    pipeline.load_once(root=url, topics=["unanswered"])
    is_landed_once(url, ["unanswered"], 100)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stores that are reached from now on are given half a second to answer."""
    monkeypatch.setattr(objects, "ANSWER", timedelta(seconds=0.5))


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("kind", ["moto", "fake-gcs-server"])
@pytest.mark.parametrize("command", [["files", "orders", "--root"], ["check"], ["compact", "--root"], ["expire", "--root"]])
def test_a_command_beside_a_store_that_hangs_says_so_after_one_request(
    command: list[str], kind: str, proxied: Proxied, capsys: pytest.CaptureFixture[str]
) -> None:
    url, proxy = proxied(kind)
    proxy.rule = lambda _: Fate.HANG
    options = ["--older-than", "1d"] if command[0] == "expire" else []
    assert cli.main([*command, url, *options]) == 1
    assert proxy.fates == [Fate.HANG]
    assert url.partition("?")[0] in capsys.readouterr().err


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("kind", ["versitygw", "fake-gcs-server"])
def test_a_loader_beside_a_store_that_hangs_ends_and_its_rows_land_at_the_next_start(
    kind: str, proxied: Proxied, pipeline: Pipeline
) -> None:
    url, proxy = proxied(kind)
    topics = [f"hanging-{kind}-{number}" for number in (1, 2, 3)]
    for topic in topics:
        pipeline.create_topic(topic)
        pipeline.produce(topic, (b"%d" % n for n in range(100)))
    body = {"load": {"root": url, "topics": topics}, "kafka": {"bootstrap.servers": pipeline.bootstrap}}
    loader = Loader(LoadConfig.model_validate(body), SystemClock(), once=False, landed=str, rewind=None)
    stop = Event()
    running = Thread(target=loader.run, args=(stop,))
    running.start()
    deadline = time.monotonic() + 30
    while sum(one.read for _, one in loader.standings.partitions()) < 300:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    proxy.rule = lambda request: Fate.HANG if request.is_commit else Fate.PASS
    stop.set()
    running.join(15)
    assert not running.is_alive()
    assert proxy.fates.count(Fate.HANG) == 1  # the other tables are not tried
    proxy.rule = commits()
    pipeline.load_once(root=url, topics=topics)
    is_landed_once(url, topics, 100)


def test_a_process_whose_call_into_a_store_never_returns_ends_when_asked() -> None:
    script = """
import ctypes
from headrace.process import stop_event
from headrace.sinks.stores import watch

watch.LAST_WAIT_S, watch.LOOK_INTERVAL_S = 0.2, 0.05
watched = watch.start()
watched.end_with(stop_event())
mutex, libc = ctypes.create_string_buffer(64), ctypes.CDLL(None)
with watched.asking("orders/log/7.json"):
    libc.pthread_mutex_lock(mutex)
    print("asking", flush=True)
    libc.pthread_mutex_lock(mutex)  # no signal interrupts it, and no handler of Python's runs
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"asking\n"
        process.terminate()
        try:
            _, said = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 1
    assert b"given up: the store has told nothing for 0.2 s: orders/log/7.json" in said

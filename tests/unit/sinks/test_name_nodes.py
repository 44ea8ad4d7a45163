"""NameNodes that hang, refuse or are not the active one: who is asked next, and what is not asked twice."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from io import BytesIO
from pathlib import Path
from threading import Event
from typing import TypeVar

import pytest

from headrace.sinks.stores import hdfs_site
from headrace.sinks.stores.name_nodes import NameNode, NameNodes, Pulse, Threads, UnansweredError

T = TypeVar("T")
PATIENCE_S = 30.0
STANDBY = RuntimeError('RPCError("org.apache.hadoop.ipc.StandbyException", "Operation category READ is not supported")')
REFUSED = OSError("Connection refused (os error 111)")


class ByHand(Threads):
    """Time goes by while a question hangs, and whenever somebody sleeps."""

    def __init__(self) -> None:
        self._now_s = 7_000.0
        self._mine = threading.local()
        self._change = threading.Condition()
        self._hanging: dict[Future[object], Event] = {}

    def begin(self, ask: Callable[[], T]) -> Future[T]:
        asked: Future[T] = Future()

        def run() -> None:
            self._mine.asked = asked
            try:
                asked.set_result(ask())
            except Exception as error:  # noqa: BLE001 - raised where it is waited for
                asked.set_exception(error)
            with self._change:
                self._change.notify_all()

        threading.Thread(target=run, daemon=True).start()
        return asked

    def hang(self, until: Event) -> None:
        """In a question: wait for `until`."""
        with self._change:
            self._hanging[self._mine.asked] = until
            self._change.notify_all()
        until.wait()

    def wait(self, asked: Future[T], seconds: float) -> None:
        with self._change:
            assert self._change.wait_for(lambda: asked.done() or self._hangs(asked), 60)
        if not asked.done():
            self._now_s += seconds

    def _hangs(self, asked: Future[T]) -> bool:
        """One that may go on does not, also where its thread has had no turn since."""
        return asked in self._hanging and not self._hanging[asked].is_set()

    def now_s(self) -> float:
        return self._now_s

    def sleep(self, seconds: float) -> None:
        self._now_s += seconds


class Host:
    """A NameNode: what it does with a question, and how many it has heard."""

    def __init__(self, name: str, threads: ByHand) -> None:
        self.name, self.threads, self.heard, self.clients = name, threads, 0, 0
        self.fails: Exception | None = None
        self.awake = Event()
        self.awake.set()

    def client(self) -> "Host":
        self.clients += 1
        return self

    def ask(self) -> str:
        self.heard += 1
        self.threads.hang(self.awake)
        if self.fails is not None:
            raise self.fails
        return self.name

    def get_file_info(self, path: str) -> str:
        assert path == "/"
        return self.ask()


class Pair:
    """Two, of which the first is active."""

    def __init__(self) -> None:
        self.threads = ByHand()
        self.first, self.second = (Host(name, self.threads) for name in ("nn1", "nn2"))
        self.second.fails = STANDBY
        nodes = [NameNode(host.name, host.client, PATIENCE_S, self.threads) for host in (self.first, self.second)]
        self.nodes = NameNodes(nodes, PATIENCE_S, self.threads)

    def ask(self, *, changes: bool = False) -> str:
        return self.nodes.ask(lambda host, _: host.ask(), changes=changes)

    def fail_over(self) -> None:
        self.second.fails = None


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    for host in (pair.first, pair.second):
        host.awake.set()


def test_who_answered_last_is_asked_first(pair: Pair) -> None:
    assert pair.ask() == "nn1"
    pair.first.fails, pair.second.fails = STANDBY, None
    assert [pair.ask(changes=True) for _ in range(3)] == ["nn2"] * 3
    assert pair.first.heard == 2


def test_a_question_that_changes_nothing_goes_on_to_the_next_where_one_hangs(pair: Pair) -> None:
    pair.ask()
    pair.first.awake.clear()
    pair.fail_over()
    assert pair.ask() == "nn2"


def test_a_change_that_is_not_answered_is_not_asked_again(pair: Pair) -> None:
    pair.ask()
    pair.first.awake.clear()
    pair.fail_over()
    with pytest.raises(UnansweredError, match="nn1 has not answered for"):
        pair.ask(changes=True)
    assert pair.second.heard == 0
    assert pair.ask(changes=True) == "nn2"


def test_one_that_hangs_is_asked_again_by_a_new_client_when_a_question_to_it_returns(pair: Pair) -> None:
    pair.ask()
    pair.first.awake.clear()
    with pytest.raises(OSError, match="nn1 hangs; nn2: it is not the active one"):
        pair.ask()
    pair.first.awake.set()
    assert pair.ask() == "nn1"
    assert pair.first.clients == 2


def test_what_hangs_for_a_day_leaves_few_clients_behind(pair: Pair) -> None:
    pair.first.awake.clear()
    pair.second.fails = REFUSED
    for _ in range(1440):
        with pytest.raises(OSError, match="nn2"):
            pair.ask()
        pair.threads.sleep(60)
    assert 8 < pair.first.clients < 14, "each is tried after twice the time of the one before"


def test_while_another_takes_over_hdfs_is_waited_for(pair: Pair) -> None:
    pair.ask()
    pair.first.fails = REFUSED
    taken_over = iter([STANDBY, STANDBY, STANDBY])

    def then_active(host: Host, _: Pulse) -> str:
        if host is pair.second:
            host.fails = next(taken_over, None)
        return host.ask()

    assert pair.nodes.ask(then_active, changes=True) == "nn2"


def test_hdfs_that_was_never_reached_is_not_waited_for(pair: Pair) -> None:
    pair.first.fails = REFUSED
    with pytest.raises(OSError, match=r"nn1: Connection refused .*; nn2: it is not the active one"):
        pair.ask()
    assert (pair.first.heard, pair.second.heard) == (1, 1)


def test_what_hdfs_says_of_a_path_is_the_answer(pair: Pair) -> None:
    pair.first.fails = FileNotFoundError("/a")
    with pytest.raises(FileNotFoundError):
        pair.ask()
    assert pair.second.heard == 0


def test_a_change_whose_connection_broke_is_not_asked_again(pair: Pair) -> None:
    pair.first.fails = OSError("RPC listener disconnected")
    with pytest.raises(OSError, match="disconnected"):
        pair.ask(changes=True)
    assert pair.second.heard == 0


def test_a_write_that_is_left_behind_reads_no_more_of_the_file(pair: Pair) -> None:
    """Else it would take pieces away from the next try, which reads the same file."""
    file, is_over = BytesIO(b"0123456789"), Event()

    def go_on(host: Host, pulse: Pulse) -> None:
        try:
            while pulse.step(lambda: file.read(2)):
                host.ask()
        finally:
            is_over.set()

    def cannot_go_on(host: Host, pulse: Pulse) -> None:
        host.awake.clear()
        go_on(host, pulse)

    with pytest.raises(UnansweredError):
        pair.nodes.write(lambda host, _: host, cannot_go_on)
    file.seek(0)
    pair.first.awake.set()
    assert is_over.wait(10)
    assert file.tell() == 0


def test_a_write_is_waited_for_while_its_name_node_answers(pair: Pair) -> None:
    """It may be a DataNode that hangs."""
    is_taken = Event()

    def ask(host: Host, _: Pulse) -> Host:
        return host

    def go_on(host: Host, _: Pulse) -> None:
        host.threads.hang(is_taken)

    def answer_thrice(path: str) -> None:
        assert path == "/"
        pair.first.heard += 1
        if pair.first.heard == 3:
            is_taken.set()

    pair.first.get_file_info = answer_thrice  # type: ignore[method-assign,assignment]
    pair.nodes.write(ask, go_on)
    assert pair.threads.now_s() >= 7_000 + 3 * PATIENCE_S


def test_a_write_of_which_nothing_is_taken_ends_some_time(pair: Pair) -> None:
    never = Event()
    with pytest.raises(UnansweredError, match="the DataNodes have taken nothing for 240 s"):
        pair.nodes.write(lambda host, _: host, lambda host, _: host.threads.hang(never))
    never.set()


SITE = {
    "fs.defaultFS": "hdfs://cluster",
    "dfs.ha.namenodes.cluster": "nn1, nn2",
    "dfs.namenode.rpc-address.cluster.nn1": "one:8020",
    "dfs.namenode.rpc-address.cluster.nn2": "two:8020",
}


@pytest.mark.parametrize("url", ["", "hdfs://cluster"])
def test_each_name_node_of_a_name_service_is_asked_by_itself(url: str) -> None:
    found = hdfs_site.name_nodes(url, SITE)
    assert [node.name for node in found] == ["nn1 (one:8020)", "nn2 (two:8020)"]
    assert [node.settings["dfs.ha.namenodes.cluster"] for node in found] == ["nn1", "nn2"]


@pytest.mark.parametrize(
    ("url", "site"),
    [
        ("hdfs://one:8020", {}),
        ("", {"fs.defaultFS": "viewfs://all"}),
        ("hdfs://cluster", {**SITE, "dfs.client.failover.resolve-needed.cluster": "true"}),
    ],
)
def test_what_is_no_name_service_is_asked_as_one(url: str, site: dict[str, str]) -> None:
    assert len(hdfs_site.name_nodes(url, site)) == 1


@pytest.mark.parametrize(("text", "seconds"), [(None, 30), ("0", 30), ("2500", 2.5), ("soon", 30)])
def test_the_sites_time_out_holds_where_it_ends(text: str | None, seconds: float) -> None:
    assert hdfs_site.rpc_timeout_s({} if text is None else {hdfs_site.RPC_TIMEOUT_KEY: text}) == seconds


def test_the_sites_files_are_read_where_they_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HADOOP_CONF_DIR", str(tmp_path))
    assert hdfs_site.settings() == {}
    entry = "<property><name>fs.defaultFS</name><value> hdfs://cluster </value></property>"
    (tmp_path / "core-site.xml").write_text(f"<configuration>{entry}</configuration>")
    (tmp_path / "hdfs-site.xml").write_text("<configuration>&other;</configuration>")
    assert hdfs_site.settings() == {"fs.defaultFS": "hdfs://cluster"}

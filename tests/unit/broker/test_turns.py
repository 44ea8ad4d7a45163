"""Who works next: each client has the loop for as long as any other that wants it."""

from collections.abc import Callable

from headrace.broker.network.turns import CREDIT_NS, QUANTUM_NS, Share, Turns


class Loop:
    """A loop whose time passes only while somebody works."""

    def __init__(self) -> None:
        self.now_ns = 1_000_000_007
        self.calls: list[Callable[[], None]] = []
        self.turns = Turns(lambda: self.now_ns, self.calls.append)
        self.done: list[tuple[str, int]] = []  # who finished a request, and when

    def run(self, rounds: int) -> None:
        for _ in range(rounds):
            calls, self.calls[:] = list(self.calls), []
            for call in calls:
                call()


class Client:
    """A connection with requests of so many ns each."""

    def __init__(self, loop: Loop, name: str, cost_ns: int, share: Share | None = None) -> None:
        self.loop, self.name, self.cost_ns, self.left = loop, name, cost_ns, 0
        self.share = share or Share()
        self.is_in_line = False
        self.was_alone: list[bool] = []

    def send(self, requests: int) -> None:
        self.left += requests
        self.loop.turns.ask(self)

    def take_turn(self, until_ns: int, *, is_alone: bool) -> bool:
        self.was_alone.append(is_alone)
        while self.left:
            self.left -= 1
            self.loop.now_ns += self.cost_ns
            self.loop.done.append((self.name, self.loop.now_ns))
            if self.loop.now_ns >= until_ns:
                break
        return self.left > 0

    def finished(self) -> int:
        return sum(1 for name, _ in self.loop.done if name == self.name)


def test_work_is_done_at_once_while_nobody_waits() -> None:
    loop = Loop()
    Client(loop, "a", 10_000).send(3)
    assert [name for name, _ in loop.done] == ["a"] * 3


def test_a_flood_has_a_quantum_and_then_goes_to_the_back() -> None:
    loop = Loop()
    flood = Client(loop, "flood", 10_000)
    flood.send(1_000_000)
    assert flood.finished() * flood.cost_ns == QUANTUM_NS
    loop.run(1)
    assert flood.finished() * flood.cost_ns == 2 * QUANTUM_NS


def test_who_asks_little_waits_for_one_quantum_however_many_flood() -> None:
    loop = Loop()
    floods = [Client(loop, "flood", 13_000) for _ in range(40)]
    for flood in floods:
        flood.send(1_000_000)
    loop.run(100)
    good = Client(loop, "good", 20_000)
    for _ in range(50):
        asked_ns, before = loop.now_ns, good.finished()
        good.send(1)
        while good.finished() == before:
            loop.run(1)
        assert loop.now_ns - asked_ns <= QUANTUM_NS + 13_000 + good.cost_ns
        loop.run(3)


def test_a_hundred_connections_of_one_client_have_one_share() -> None:
    loop, share = Loop(), Share()
    many = [Client(loop, "many", 10_000, share) for _ in range(100)]
    one = Client(loop, "one", 10_000)
    for client in [*many, one]:
        client.send(1_000_000)
    loop.run(400)
    assert 0.8 < one.finished() / sum(1 for name, _ in loop.done if name == "many") < 1.25


def test_idling_saves_up_no_more_than_the_credit() -> None:
    loop = Loop()
    first, second = Client(loop, "first", 10_000), Client(loop, "second", 10_000)
    first.send(1_000_000)
    loop.run(1000)
    second.send(1_000_000)
    before = first.finished()
    loop.run(100)
    assert abs((first.finished() - before) - second.finished()) <= (CREDIT_NS + QUANTUM_NS) // 10_000


def test_a_slow_request_is_paid_for_with_later_turns() -> None:
    loop = Loop()
    slow, quick = Client(loop, "slow", 20 * QUANTUM_NS), Client(loop, "quick", 50_000)
    slow.send(1000)
    quick.send(1_000_000)
    loop.run(2000)
    slow_ns, quick_ns = slow.finished() * slow.cost_ns, quick.finished() * quick.cost_ns
    assert abs(slow_ns - quick_ns) <= 2 * slow.cost_ns + CREDIT_NS


def test_all_work_is_done_in_the_end() -> None:
    loop, share = Loop(), Share()
    clients = [Client(loop, str(number), 1000 + 7000 * number, share if number % 2 else None) for number in range(9)]
    for client in clients:
        client.send(100)
    loop.run(500)
    assert [client.left for client in clients] == [0] * 9
    assert not loop.calls


def test_a_client_is_told_whether_anybody_else_waits() -> None:
    loop = Loop()
    first, second = Client(loop, "first", 10_000), Client(loop, "second", 10_000)
    first.send(1_000_000)
    loop.run(3)
    assert first.was_alone == [True] * 4
    second.send(1)
    loop.run(2)
    assert second.was_alone == [False]


def test_what_is_done_out_of_turn_is_paid_for_too() -> None:
    loop = Loop()
    first, second = Client(loop, "first", 10_000), Client(loop, "second", 10_000)
    first.send(1_000_000)
    second.send(1_000_000)
    loop.run(10)
    loop.turns.count(first, 50 * QUANTUM_NS)
    before = first.finished(), second.finished()
    loop.run(30)
    assert first.finished() - before[0] <= QUANTUM_NS // 10_000  # the turn that it stood in line for already
    assert second.finished() - before[1] >= 20 * QUANTUM_NS // 10_000

"""A relay between agent and broker, and one between broker and loader, which change a record on its way: refused, or placed.

Each topic has a log and a fault of its own. A byte that is flipped does not go with the batch's CRC: the broker refuses it, and
the agent sends it again; a loader reads it again, and lands nothing of that topic for as long as it comes so. What bears the
right CRC lands, and the audit finds it; beside what the broker has, it says on which side of the broker it changed.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from headrace.broker.log.record import Record
from headrace.cli import main
from tests.altering_relay import AlteringRelay, flip, reseal
from tests.e2e.audited_agent import AuditedAgent
from tests.integration.sinks.pipeline import Pipeline
from tests.processes import free_port
from tests.waiting import until

LINES = 480
BEGAN = datetime(2026, 11, 20, 12, tzinfo=UTC)
STEP = timedelta(seconds=15)
"""Forty lines a window."""
STRUCK = 300
WINDOW = "2026-11-20 13:10"


def line(topic: str, number: int) -> str:
    return f"{(BEGAN + number * STEP).isoformat()} line {number:04d} of {topic}\n"


def text(topic: str) -> bytes:
    return line(topic, STRUCK).split(maxsplit=1)[1].strip().encode()


def other_text(records: Sequence[Record], meant: int) -> Sequence[Record]:
    changed = replace(records[meant], value=(records[meant].value or b"").replace(b"line 0300", b"line 0~00"))
    return [*records[:meant], changed, *records[meant + 1 :]]


def neighbour_again(records: Sequence[Record], meant: int) -> Sequence[Record]:
    """One is lost, and another is there twice."""
    neighbour = records[meant - 1 if meant else 1]
    return [*records[:meant], replace(records[meant], value=neighbour.value), *records[meant + 1 :]]


class Fault:
    """What befalls one topic's record: a flipped bit `times` times, or what `change` makes of its batch, each time."""

    def __init__(self, *, change: Callable[[Sequence[Record], int], Sequence[Record]] | None = None, times: int = 0) -> None:
        self._change, self.left = change, times
        self.struck = 0

    def strike(self, frame: bytearray, topic: str) -> None:
        if self._change is not None:
            self.struck += reseal(frame, text(topic), self._change)
        elif self.left and flip(frame, text(topic)):
            self.left -= 1
            self.struck += 1


NEVER_RIGHT = "read-ever-flipped"
TO_BROKER = {
    "sent-flipped": Fault(times=2),
    "sent-altered": Fault(change=other_text),
    "sent-lost": Fault(change=neighbour_again),
}
TO_LOADER = {
    "read-flipped": Fault(times=2),
    NEVER_RIGHT: Fault(times=1 << 30),
    "read-altered": Fault(change=other_text),
    "read-lost": Fault(change=neighbour_again),
}
TOPICS = (*TO_BROKER, *TO_LOADER)


def relay(faults: dict[str, Fault], *, answers: bool) -> AlteringRelay:
    def alter(frame: bytearray) -> None:
        for topic, fault in faults.items():
            fault.strike(frame, topic)

    return AlteringRelay(alter, answers=answers)


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """All that was written has landed; broker and registry run on."""
    agents, loaders = relay(TO_BROKER, answers=False), relay(TO_LOADER, answers=True)
    port, agents.target_port, loaders.target_port = free_port(), free_port(), free_port()
    told = {
        "PLAINTEXT": (port, port),
        "AGENTS": (agents.target_port, agents.port),
        "LOADERS": (loaders.target_port, loaders.port),
    }
    ways = {
        "listeners": ",".join(f"{name}://127.0.0.1:{bound}" for name, (bound, _) in told.items()),
        "advertised_listeners": ",".join(f"{name}://127.0.0.1:{said}" for name, (_, said) in told.items()),
        "listener_security_protocol_map": ",".join(f"{name}:PLAINTEXT" for name in told),
    }
    with Pipeline(tmp_path_factory.mktemp("relayed"), **ways) as pipeline:
        for topic in (*TOPICS, "beside"):
            pipeline.create_topic(topic)
        agent = AuditedAgent(pipeline, TOPICS, bootstrap=f"127.0.0.1:{agents.port}", has_logs=True)
        for topic, log in agent.logs.items():
            log.write_text("".join(line(topic, number) for number in range(LINES)))
        agent.wait_until_claimed(LINES)
        pipeline.loader(rotate={"age": "200ms"}, kafka={"bootstrap.servers": f"127.0.0.1:{loaders.port}"}).start()
        for topic in TOPICS:
            if topic != NEVER_RIGHT:
                pipeline.wait_for_rows(topic, LINES - topic.endswith("lost"))
        until(lambda: TO_LOADER[NEVER_RIGHT].struck >= 4)
        assert agent.part.stop() == 0
        yield pipeline


def audit(pipeline: Pipeline, capsys: pytest.CaptureFixture[str], topic: str, *arguments: str) -> tuple[int, str]:
    capsys.readouterr()
    asked = ["audit", "--root", str(pipeline.root), "--topic", topic, "--day", "2026-11-20", "--format", "json"]
    return main([*asked, *arguments]), capsys.readouterr().err


MISSING = "sent 40, and 39 have landed: 1 are missing"
OTHERS = "sent 40 and as many have landed, but not the same: their hashes differ"
BEFORE = "the broker has what has landed (offsets "
OUTCOMES = {
    "sent-flipped": (0, "", ""),
    "sent-altered": (3, OTHERS, BEFORE),
    "sent-lost": (3, MISSING, BEFORE),
    "read-flipped": (0, "", ""),
    "read-altered": (
        3,
        OTHERS,
        "has it with another message (from character 32 on) than the broker at partition 0, offset 300",
    ),
    "read-lost": (3, MISSING, "the broker has it at partition 0, offset 300, and no file of its window"),
}


@pytest.mark.parametrize("topic", OUTCOMES)
def test_what_a_relay_alters_is_refused_or_found_and_placed(
    landed: Pipeline, capsys: pytest.CaptureFixture[str], topic: str
) -> None:
    status, verdict, place = OUTCOMES[topic]
    assert (TO_BROKER | TO_LOADER)[topic].struck
    found, said = audit(landed, capsys, topic, "--wait", "--timeout", "0")
    assert (found, verdict in said, WINDOW in said) == (status, True, status != 0), said
    broker = ("--bootstrap", landed.bootstrap, "--registry", landed.registry_url)
    found, said = audit(landed, capsys, topic, "--recount", *broker)
    assert (found, place in said) == (status, True), said


def test_what_never_comes_with_the_right_crc_does_not_land_until_it_does(
    landed: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = audit(landed, capsys, NEVER_RIGHT, "--wait", "--timeout", "0")
    assert (status, f"{LINES} acknowledged" in said) == (4, True), said
    TO_LOADER[NEVER_RIGHT].left = 0
    landed.wait_for_rows(NEVER_RIGHT, LINES)
    assert audit(landed, capsys, NEVER_RIGHT, "--wait", "--timeout", "0") == (0, "")

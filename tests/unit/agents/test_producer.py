"""A client of librdkafka that has ended with a fatal error: it is told as librdkafka tells it, and another takes its place."""

import ctypes
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from headrace.agents.announcing import Announcer
from headrace.agents.effects import Now
from headrace.agents.producer import LastingProducer
from headrace.agents.state import AgentState
from headrace.audit import AUDIT_TOPIC
from tests.waiting import until

NOWHERE = {"bootstrap.servers": "127.0.0.1:1", "log_level": 0}


def end(client: Producer) -> None:
    """What a broker's answer does that an idempotent producer cannot get over (rd_kafka_test_fatal_error of rdkafka.h)."""
    loaded = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "librdkafka" in line}
    library = ctypes.CDLL(loaded.pop())
    library.rd_kafka_test_fatal_error.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p]
    handle = ctypes.cast(id(client) + object.__basicsize__, ctypes.POINTER(ctypes.c_void_p))[0]
    assert library.rd_kafka_test_fatal_error(handle, KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, b"made up") == 0


def test_after_a_fatal_error_what_was_on_its_way_has_failed_and_another_client_is_there() -> None:
    producer, failed = LastingProducer(NOWHERE), []

    def heard(error: KafkaError | None, message: Message) -> None:
        assert error is not None
        failed.append(message.value())

    for number in range(3):
        producer.client.produce("logs", b"%d" % number, on_delivery=heard)
    ended = producer.client
    end(ended)

    def renewed() -> bool:
        producer.renew()
        producer.poll(0.01)
        return producer.client is not ended

    until(renewed)
    assert failed == [b"0", b"1", b"2"], "the next one comes when all is reported"
    producer.client.produce("logs", b"again")
    producer.let_go()


class _Ended:
    """A client that has ended, as it answers whoever still has it."""

    def list_topics(self, timeout: float) -> Any:
        assert timeout > 0
        return SimpleNamespace(topics={AUDIT_TOPIC: SimpleNamespace(partitions=[0])})

    def produce(self, *_: Any, **__: Any) -> None:
        raise KafkaException(KafkaError(KafkaError._FATAL))


def test_what_a_client_that_has_ended_does_not_take_of_the_audit_is_said_by_the_next(tmp_path: Path) -> None:
    state = AgentState(tmp_path, machine_id="m", host="h", new_agent_id="agent-1")
    announcer, ended, said = Announcer({}, state, list, host="h", run="r"), _Ended(), []
    announcer.prepare(ended)  # type: ignore[arg-type]  # all of it that is asked
    announcer.announce(ended, "active", None, Now(1, 1))  # type: ignore[arg-type]
    announcer.settle(Now(2, 2))
    assert not announcer.busy
    other = SimpleNamespace(produce=lambda *given, **_: said.append((given[0], given[2])))
    announcer.announce(other, "active", None, Now(3, 3))  # type: ignore[arg-type]
    assert said == [(AUDIT_TOPIC, b"agent/agent-1/r")]
    state.close()

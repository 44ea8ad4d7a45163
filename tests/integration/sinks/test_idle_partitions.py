"""A topic that no agent writes: its windows become complete though one of its partitions is idle."""

import time

from confluent_kafka import Producer

from headrace.audit import AUDIT_TOPIC, AgentMessage
from headrace.jobs.audit.auditor import Auditor
from headrace.jobs.audit.gate import Gate
from headrace.sinks.table import names
from tests.integration.sinks.pipeline import Pipeline
from tests.waiting import until

HOUR_MS = 3_600_000


def now_ms():
    return time.time_ns() // 1_000_000


def produce(pipeline, topic, partition, *times_ms):
    producer = Producer({"bootstrap.servers": pipeline.bootstrap, "log_level": 0})
    for at_ms in times_ms:
        producer.produce(topic, b'{"message": "from elsewhere"}', partition=partition, timestamp=at_ms)
    assert producer.flush(30) == 0


def heartbeat(pipeline, run="1"):
    said = AgentMessage("a", run, "host-a", "0.1.0", "finished", None, {"logs": {0: 0}})
    pipeline.produce(AUDIT_TOPIC, [said.encode()], key=said.key.encode())


def test_an_idle_partition_holds_up_no_window(tmp_path):
    with Pipeline(tmp_path) as pipeline:
        pipeline.create_topic(AUDIT_TOPIC, cleanup_policy="compact", message_timestamp_type="LogAppendTime")
        pipeline.create_topic("foreign", partitions=2)
        old_ms = now_ms() - HOUR_MS
        produce(pipeline, "foreign", 1, old_ms)
        produce(pipeline, "foreign", 0, old_ms, now_ms())
        loader = pipeline.loader(topics=["foreign"], rotate={"age": "1s"})
        loader.start()
        pipeline.wait_for_rows("foreign", 3)
        gate = Gate(pipeline.root, ["foreign"], until_ms=old_ms + 1)
        assert gate.judge(now_ms=now_ms()).state == "unknown"
        heartbeat(pipeline)

        def is_complete():
            gate.look()
            return gate.judge(now_ms=now_ms()).state == "complete"

        until(is_complete, timeout_s=30)
        newest = Auditor(pipeline.root).judge("foreign", now_ms=now_ms()).windows[-1]
        assert newest.state == "unknown", "it is not over yet"
        loader.stop()
        pipeline.assert_sound()
        assert len(list((pipeline.root / "foreign" / names.SEEN).iterdir())) == 1


def test_once_tells_what_it_has_come_to_in_the_end(tmp_path):
    with Pipeline(tmp_path) as pipeline:
        pipeline.create_topic(AUDIT_TOPIC, cleanup_policy="compact", message_timestamp_type="LogAppendTime")
        pipeline.create_topic("foreign")
        old_ms = now_ms() - HOUR_MS
        produce(pipeline, "foreign", 0, old_ms)
        heartbeat(pipeline)
        pipeline.load_once(topics=["foreign"])
        verdict = Auditor(pipeline.root).judge("foreign", now_ms=now_ms())
        assert [window.state for window in verdict.windows] == ["complete"], verdict

"""A stop that hangs says what it waits for, and ends."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.processes import broker

HANGS = """
import time
from headrace.logs import log_to_stderr
from headrace.stopping import Stop
log_to_stderr()
stop = Stop(bound_s={bound_s}, same_wish_s=0.1)
stop.waits_for("a disk that does not answer")
print("stops", flush=True)
time.sleep(60)
"""


def test_it_ends_after_its_bound() -> None:
    done = subprocess.run([sys.executable, "-c", HANGS.format(bound_s=0.3)], capture_output=True, text=True, timeout=30)
    said = json.loads(done.stderr)
    assert done.returncode == 1
    assert said["waits_for"] == "a disk that does not answer"
    assert "longer than 0.3 s" in said["msg"]


def test_it_ends_when_it_is_told_again() -> None:
    command = [sys.executable, "-c", HANGS.format(bound_s=50)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(0.2)
        child.send_signal(signal.SIGTERM)
        _, errors = child.communicate(timeout=10)
    assert child.returncode == 1
    assert json.loads(errors)["waits_for"] == "a disk that does not answer"
    assert "told again" in json.loads(errors)["msg"]


COMMITS_TO_NOBODY = """
import sys, time
from confluent_kafka import Consumer, Producer, TopicPartition
from headrace.librdkafka import close_consumer
from headrace.logs import log_to_stderr
log_to_stderr()
producer = Producer({"bootstrap.servers": sys.argv[1], "log_level": 2})
producer.produce("t", b"a record")
producer.flush()
consumer = Consumer({"bootstrap.servers": sys.argv[1], "group.id": "g", "enable.auto.commit": False, "log_level": 2})
consumer.assign([TopicPartition("t", 0, 0)])
consumer.commit(offsets=[TopicPartition("t", 0, 1)], asynchronous=False)
print("committed", flush=True)
sys.stdin.readline()
consumer.commit(offsets=[TopicPartition("t", 0, 2)], asynchronous=True)
close_consumer(consumer)
"""


def test_a_consumer_whose_commit_waits_for_a_broker_that_has_gone_is_left_behind(tmp_path: Path) -> None:
    part = broker(tmp_path).start()
    command = [sys.executable, "-c", COMMITS_TO_NOBODY, f"127.0.0.1:{part.ports['kafka']}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "committed\n"
        part.kill()
        _, errors = child.communicate("go on\n", timeout=20)  # librdkafka itself takes 45 s
    assert child.returncode == 0
    assert "not closed in order" in json.loads(errors)["msg"]

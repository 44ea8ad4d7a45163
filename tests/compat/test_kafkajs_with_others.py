"""KafkaJS and confluent-kafka read what the other wrote."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.compat.clients import CLIENTS
from tests.processes import Part, broker

PEERS = Path(__file__).parents[2] / ".peers"
PRELUDE = """
const { Kafka, CompressionTypes, logLevel } = require('kafkajs');
const kafka = new Kafka({ clientId: 'js', brokers: [process.argv[1]], logLevel: logLevel.ERROR });
const say = (value) => console.log(JSON.stringify(value));
const consume = async (topic, groupId, count) => {
  const consumer = kafka.consumer({ groupId });
  await consumer.connect();
  await consumer.subscribe({ topics: [topic], fromBeginning: true });
  const got = [];
  await new Promise((resolve, reject) => consumer.run({
    eachMessage: async ({ message }) => { got.push(message.value.toString()); if (got.length >= count) resolve(); },
  }).catch(reject));
  await consumer.disconnect();
  return got;
};
const main = async () => {
"""


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Part]:
    with broker(tmp_path_factory.mktemp("js"), group_initial_rebalance_delay_ms=0) as running:
        yield running


@pytest.fixture(scope="module")
def run(part: Part, missing: Callable[[str, str], NoReturn]) -> Callable[[str], Any]:
    """Run the body of an async function of JavaScript; what it said last, as JSON."""
    if shutil.which("node") is None or not (PEERS / "node_modules" / "kafkajs").exists():
        missing("kafkajs", "run make peers")

    def execute(body: str) -> Any:
        script = PRELUDE + body + "};\nmain().catch((error) => { console.error(error); process.exit(1); });"
        command = ["node", "-e", script, f"127.0.0.1:{part.ports['kafka']}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=PEERS)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return execute


def test_produces_with_gzip_and_consumes_in_a_group(run: Callable[[str], Any], part: Part) -> None:
    got = run("""
        const producer = kafka.producer({ idempotent: true });
        await producer.connect();
        const messages = [...Array(200).keys()].map((number) => ({ value: `value ${number}`, headers: { h: 'x' } }));
        await producer.send({ topic: 'js', messages, compression: CompressionTypes.GZIP });
        await producer.disconnect();
        say(await consume('js', 'g', 200));
    """)
    expected = [f"value {number}" for number in range(200)]
    assert got == expected
    address = f"127.0.0.1:{part.ports['kafka']}"
    assert CLIENTS[0].consume(address, "js", 200) == [value.encode() for value in expected]


def test_reads_what_another_client_wrote(run: Callable[[str], Any], part: Part) -> None:
    CLIENTS[0].produce(f"127.0.0.1:{part.ports['kafka']}", "theirs", [b"%d" % number for number in range(50)], "gzip")
    assert run("say(await consume('theirs', 'reader', 50));") == [str(number) for number in range(50)]

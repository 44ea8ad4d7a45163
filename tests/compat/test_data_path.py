"""Unmodified clients produce and consume; what one compressed, every other reads."""

import random
from collections.abc import Iterator

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from tests.compat.clients import CLIENTS, Client
from tests.processes import Part, broker

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


@pytest.fixture(scope="module")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with broker(tmp_path_factory.mktemp("broker")) as part:
        yield address(part)


def address(part: Part) -> str:
    return f"127.0.0.1:{part.ports['kafka']}"


def lines(count: int) -> list[bytes]:
    """Values that compress, all different, of many lengths, one of them large."""
    source = random.Random(7)
    made = [b"%06d " % number + b"GET /index.html 200 " * source.randrange(20) for number in range(count - 1)]
    return [*made, source.randbytes(200_000)]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("producer", CLIENTS, ids=lambda client: client.name)
def test_what_one_client_writes_every_client_reads(bootstrap: str, producer: Client, codec: str) -> None:
    topic = f"{producer.name}.{codec}"
    values = lines(500)
    producer.produce(bootstrap, topic, values, codec)
    for consumer in CLIENTS:
        assert consumer.consume(bootstrap, topic, len(values)) == values, consumer.name


@pytest.mark.parametrize("wanted", ["uncompressed", *CODECS[1:]])
def test_what_a_topic_keeps_in_its_own_codec_every_client_reads(bootstrap: str, wanted: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    topic = f"kept.{wanted}"
    admin.create_topics([NewTopic(topic, 1, 1, config={"compression.type": wanted})])[topic].result(10)
    values: list[bytes] = []
    for producer, codec in zip(CLIENTS, ("lz4", "gzip", "none"), strict=True):
        values += lines(200)
        producer.produce(bootstrap, topic, lines(200), codec)
    for consumer in CLIENTS:
        assert consumer.consume(bootstrap, topic, len(values)) == values, consumer.name


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_empty_values_and_many_small_requests(bootstrap: str, client: Client) -> None:
    topic = f"small.{client.name}"
    for number in range(20):
        client.produce(bootstrap, topic, [b"", b"%d" % number])
    expected = [value for number in range(20) for value in (b"", b"%d" % number)]
    assert client.consume(bootstrap, topic, len(expected)) == expected

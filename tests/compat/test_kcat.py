"""kcat with the librdkafka of Debian: 2.0.2, which probes versions in ways that later ones do not."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from typing import NoReturn

import pytest

from headrace.broker.log.batch import parse_header
from tests.processes import Part, broker

CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
Kcat = Callable[..., str]


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Part]:
    with broker(tmp_path_factory.mktemp("kcat")) as running:
        yield running


@pytest.fixture(scope="module")
def kcat(part: Part, missing: Callable[[str, str], NoReturn]) -> Kcat:
    """`kcat(arguments…, input="…")`: what it writes; an exit status other than 0 fails, unless `fails=True`: then stderr."""
    if shutil.which("kcat") is None:
        missing("kcat", "run make peers")

    def run(*arguments: str, input: str = "", fails: bool = False) -> str:  # noqa: A002 - subprocess's word
        address = f"127.0.0.1:{part.ports['kafka']}"
        command = ["kcat", *([] if fails else ["-q"]), "-b", address, "-X", "linger.ms=20", *arguments]
        done = subprocess.run(command, input=input, capture_output=True, text=True, timeout=30)
        assert (done.returncode != 0) == fails, done.stderr
        return done.stderr if fails else done.stdout

    return run


def codecs_on_disk(part: Part, topic: str) -> set[int]:
    (segment,) = (part.directory / "broker" / f"{topic}-0").glob("*.log")
    data, position, found = segment.read_bytes(), 0, set()
    while position < len(data):
        header = parse_header(data, position)
        found.add(header.codec)
        position += header.size
    return found


@pytest.mark.parametrize("codec", CODECS)
def test_what_is_compressed_with_a_codec_lies_so_on_disk_and_is_read_back(part: Part, kcat: Kcat, codec: str) -> None:
    topic = f"codec-{codec}"
    # Long enough that even one record alone gets smaller: librdkafka leaves a batch as it is if nothing is gained.
    lines = [f"{number}:" + f"line {number} repeats itself; " * 50 for number in range(1, 101)]
    kcat("-P", "-t", topic, "-K:", "-z", codec, "-H", "host=web-1", "-H", "note=grüße", input="\n".join(lines))
    # With Produce advertised from v3, this librdkafka would send uncompressed without a word (KAFKA-18659).
    assert codecs_on_disk(part, topic) == {CODECS[codec]}
    got = kcat("-C", "-t", topic, "-o", "beginning", "-e", "-f", "%k:%s %h\n").splitlines()
    assert got == [f"{line} host=web-1,note=grüße" for line in lines]


def test_offsets_are_found_by_position_from_either_end_and_by_time(kcat: Kcat) -> None:
    kcat("-P", "-t", "times", input="a\nb\nc\n")
    kcat("-P", "-t", "times", input="d\ne\n")
    stamps = [int(stamp) for stamp in kcat("-C", "-t", "times", "-o", "beginning", "-e", "-f", "%T\n").split()]
    assert stamps[2] < stamps[3]
    assert kcat("-C", "-t", "times", "-o", "-2", "-e") == "d\ne\n"
    assert kcat("-C", "-t", "times", "-o", f"s@{stamps[3]}", "-e") == "d\ne\n"
    assert kcat("-C", "-t", "times", "-o", "s@1", "-o", f"e@{stamps[3]}", "-e") == "a\nb\nc\n"
    asked = {"-1": 5, "-2": 0, str(stamps[2] + 1): 3, str(stamps[4] + 60_000): -1}
    for time, offset in asked.items():
        assert kcat("-Q", "-t", f"times:0:{time}").strip() == f"times [0] offset {offset}"


def test_null_values_and_empty_keys_stay_what_they_are(kcat: Kcat) -> None:
    kcat("-P", "-t", "nulls", "-Z", "-K;", input="k1;\n;v2\nk3;v3\n")
    assert kcat("-C", "-t", "nulls", "-o", "beginning", "-e", "-f", "%k %K %S\n").splitlines() == ["k1 2 -1", " -1 2", "k3 2 2"]


def test_a_group_goes_on_where_it_ended(kcat: Kcat) -> None:
    kcat("-P", "-t", "shared", input="a\nb\n")
    group = ("-G", "readers", "-X", "auto.offset.reset=earliest", "-e", "shared")
    assert kcat(*group) == "a\nb\n"
    kcat("-P", "-t", "shared", input="c\n")
    assert kcat(*group) == "c\n"


def test_an_idempotent_producer_and_one_that_wants_no_answer_deliver_everything(kcat: Kcat) -> None:
    numbers = "".join(f"{number}\n" for number in range(2_000))
    for topic, setting in (("once", "enable.idempotence=true"), ("unanswered", "acks=0")):
        kcat("-P", "-t", topic, "-X", setting, input=numbers)
        assert kcat("-C", "-t", topic, "-o", "beginning", "-e") == numbers


def test_metadata_lists_the_broker_and_the_topics(part: Part, kcat: Kcat) -> None:
    kcat("-P", "-t", "listed", input="a\n")
    seen = json.loads(kcat("-L", "-J"))
    assert seen["brokers"] == [{"id": 1, "name": f"127.0.0.1:{part.ports['kafka']}"}]
    assert seen["controllerid"] == 1
    (listed,) = (topic for topic in seen["topics"] if topic["topic"] == "listed")
    assert listed["partitions"] == [{"partition": 0, "leader": 1, "replicas": [{"id": 1}], "isrs": [{"id": 1}]}]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-P", "-t", "no such name"), "Broker: Invalid topic"),
        (("-C", "-t", "nobody-made-this", "-e"), "Broker: Unknown topic or partition"),
        (("-P", "-t", "large", "-X", "message.max.bytes=9000000"), "Broker: Message size too large"),
    ],
)
def test_what_cannot_be_done_is_answered_with_its_own_error(kcat: Kcat, arguments: tuple[str, ...], said: str) -> None:
    assert said in kcat(*arguments, input="x" * 1_100_000 if "large" in arguments else "x", fails=True)

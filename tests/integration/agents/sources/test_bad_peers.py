"""Any bytes at the ports of real sources end in lines, an answer or a closed connection, and the next peer is served."""

import asyncio
import gzip
from random import Random

import pytest

from headrace.agents.sources.http import HttpSource
from headrace.agents.sources.http_keys import HttpInputKeys
from headrace.agents.sources.syslog import SyslogSource
from headrace.agents.sources.syslog_keys import SyslogKeys
from tests.fuzz.generate import damaged
from tests.integration.agents.sources.collecting import DOORS, SCRATCH, Kept, StillClock, running

_KINDS = (b"application/json", b"application/x-ndjson", b"text/plain", b"application/x-protobuf", b"x")
_BODIES = (
    b'[{"a": 1}, 2]',
    b'{"a": 1}\n{"b": 2}',
    b"\x0a\x10\x12\x0e\x12\x0c\x2a\x0a\x0a\x08whatever",
    gzip.compress(b"a\nb"),
    b"",
)
_MESSAGES = (b"<34>Oct 11 22:14:15 h su: x", b"<165>1 2026-10-11T22:14:15Z h a - - - x", b"", b"\xff" * 9)


def http_bytes(random: Random) -> bytes:
    """Requests that mean something, then damaged."""
    sent = b""
    for _ in range(random.randint(1, 3)):
        body = random.choice(_BODIES)
        coding = random.choice((b"", b"Content-Encoding: gzip\r\n", b"Content-Encoding: zstd\r\n", b"Expect: 100-continue\r\n"))
        length = b"Content-Length: %d\r\n" % (len(body) + random.choice((0, 0, 0, 1, -1)))
        path = random.choice((b"/logs", b"/v1/logs", b"/", b"*", b"//"))
        sent += b"POST " + path + b" HTTP/1.1\r\nHost: a\r\nContent-Type: " + random.choice(_KINDS) + b"\r\n"
        sent += coding + length + b"\r\n" + body
    return damaged(random, sent) if random.random() < 0.7 else sent


def syslog_bytes(random: Random) -> bytes:
    """Counted messages or lines, then damaged."""
    messages = random.choices(_MESSAGES, k=random.randint(1, 5))
    if random.random() < 0.5:
        sent = b"".join(b"%d %s" % (len(message), message) for message in messages)
    else:
        sent = random.choice((b"\n", b"\0")).join(messages)
    return damaged(random, sent) if random.random() < 0.7 else sent


async def answered(port: int, sent: bytes, random: Random) -> bytes:
    """What a peer gets that sends these bytes, cut somewhere, and then no more."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    cut = random.randint(0, len(sent))
    try:
        writer.write(sent[:cut])
        await asyncio.sleep(0)
        writer.write(sent[cut:])
        writer.write_eof()
        return await asyncio.wait_for(reader.read(), 30)
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("seed", range(8))
def test_http(seed: int) -> None:
    async def check() -> None:
        random, kept = Random(seed), Kept()
        source = HttpSource("http", HttpInputKeys.model_validate({"listen": "127.0.0.1:0"}), StillClock(), DOORS, SCRATCH)
        async with running(source, kept) as task:
            for _ in range(60):
                answer = await answered(source.ports["http"], http_bytes(random), random)
                assert answer == b"" or answer.startswith(b"HTTP/1.1 "), answer
                assert b" 500 " not in answer
            good = b"POST /logs HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\ngood"
            assert (await answered(source.ports["http"], good, random)).startswith(b"HTTP/1.1 200")
            assert not task.done()
        assert kept.lines[-1] == b"good"

    asyncio.run(check())


@pytest.mark.parametrize("seed", range(8))
def test_syslog(seed: int) -> None:
    async def check() -> None:
        random, kept = Random(seed), Kept()
        source = SyslogSource(
            "syslog", SyslogKeys.model_validate({"tcp": "127.0.0.1:0", "max_message_bytes": 1024}), StillClock(), DOORS
        )
        async with running(source, kept) as task:
            for _ in range(60):
                assert await answered(source.ports["tcp"], syslog_bytes(random), random) == b""
            await answered(source.ports["tcp"], b"<1>good\n", random)
            assert not task.done()
        assert kept.lines[-1] == b"<1>good"

    asyncio.run(check())

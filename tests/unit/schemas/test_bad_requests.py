"""Bytes that are no HTTP, sent to a server of aiohttp's."""

import asyncio
import logging

import pytest
from aiohttp import web

from headrace.schemas.bad_requests import BadRequests

NO_HTTP = (
    b"\x00\x01\x02\r\n\r\n",
    b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
    b"POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
)


async def answers() -> list[bytes]:
    runner = web.AppRunner(web.Application(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    told = []
    for request in NO_HTTP:
        reader, writer = await asyncio.open_connection("127.0.0.1", runner.addresses[0][1])
        writer.write(request)
        told.append(await reader.read())
        writer.close()
    await runner.cleanup()
    return told


def test_a_client_that_does_not_speak_http_is_one_line_and_no_traceback(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    wordy, few = logging.getLogger("aiohttp.server"), BadRequests()
    wordy.addFilter(few)
    try:
        told = asyncio.run(answers())
    finally:
        wordy.removeFilter(few)
    assert all(answer.startswith(b"HTTP/1.0 400") for answer in told)
    lines = [record for record in caplog.records if record.levelno >= logging.INFO]
    assert {(record.getMessage(), record.exc_info, record.__dict__["client"]) for record in lines} == {
        ("not HTTP", None, "127.0.0.1")
    }

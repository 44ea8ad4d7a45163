"""Lines over HTTP, by real clients over real sockets: all or nothing, success only when durable, and bounds."""

import asyncio
import base64
import contextlib
import datetime
import gzip
import http.client
import json
import socket
import ssl
import sys
import time
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.agents.sources.http import HttpSource
from headrace.agents.sources.http_keys import HttpInputKeys
from headrace.agents.sources.http_pushed import MOST_LINES
from headrace.broker.security.certificates import new_authority, sign
from headrace.errors import UsageError
from tests.integration.agents.sources.collecting import DOORS, NOW_MS, SCRATCH, Kept, StillClock, running

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

NOW = datetime.datetime.now(datetime.UTC)
JSON, NDJSON, TEXT = "application/json", "application/x-ndjson", "text/plain"


class Client:
    """Posts to a source, each time on a connection of its own unless it is kept."""

    def __init__(self, source: HttpSource, tls: ssl.SSLContext | None = None) -> None:
        self.port, self.tls = source.ports["http"], tls

    def connection(self) -> http.client.HTTPConnection:
        if self.tls is not None:
            return http.client.HTTPSConnection("localhost", self.port, timeout=30, context=self.tls)
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    async def __call__(
        self, body: bytes | str, kind: str = TEXT, path: str = "/logs", method: str = "POST", **headers: str
    ) -> tuple[int, str, dict[str, str]]:
        """Status, text and headers of the answer."""

        def post() -> tuple[int, str, dict[str, str]]:
            connection = self.connection()
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, {"Content-Type": kind, **named})
            answer = connection.getresponse()
            text = answer.read().decode()
            connection.close()
            return answer.status, text, dict(answer.getheaders())

        return await asyncio.to_thread(post)


def with_source(check: Callable[[Client, Kept], Awaitable[None]], **keys: Any) -> Kept:
    """Run a check at a source; what was taken in."""

    async def run() -> Kept:
        kept = Kept()
        source = HttpSource(
            "http", HttpInputKeys.model_validate({"listen": "127.0.0.1:0", **keys}), StillClock(), DOORS, SCRATCH
        )
        async with running(source, kept):
            await check(Client(source), kept)
        return kept

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("kind", "body", "lines"),
    [
        (TEXT, b"a\n\nb\r\n\xff", [b"a", b"", b"b\r", b"\xff"]),
        (NDJSON, b'{"a": 1}\n\n [2]\n"x"', [b'{"a": 1}', b" [2]", b'"x"']),
        (JSON, b' {"a": [1, 2]} ', [b'{"a": [1, 2]}']),
        (JSON, b' [ {"a": 1},\n"x\\u00fc", 3 , [] ]', [b'{"a": 1}', b'"x\\u00fc"', b"3", b"[]"]),
        (JSON, b"[]", []),
        (TEXT, b"", []),
        (f"{JSON}; charset=utf-8", '{"ü": 1}'.encode(), ['{"ü": 1}'.encode()]),
    ],
)
def test_each_element_and_each_line_is_a_line_as_it_was_written(kind: str, body: bytes, lines: list[bytes]) -> None:
    async def check(post: Client, kept: Kept) -> None:
        assert (await post(body, kind))[:2] == (200, f'{{"lines": {len(lines)}}}\n')

    kept = with_source(check)
    assert kept.lines == lines
    assert {(each.source, each.received_ms, each.host) for each in kept.pushed} <= {("http://127.0.0.1", NOW_MS, None)}


@pytest.mark.parametrize(
    ("kind", "body", "told"),
    [
        (NDJSON, b'{"a": 1}\n{"a": }\n{', "line 2 is not JSON: Expecting value"),
        (NDJSON, b'{"a": 1} {}', "line 1 is not JSON: there is more behind its value"),
        (NDJSON, b"\xff", "line 1 is not JSON: not UTF-8 at byte 0"),
        (NDJSON, b"1\nNaN", "line 2 is not JSON: NaN is not JSON"),
        (NDJSON, b"[" * 100_000, "line 1 is not JSON: "),
        (JSON, b'[{"a": 1}, {"a"}]', "element 2 is not JSON: Expecting ':' delimiter"),
        (JSON, b"[1 2]", "neither , nor ] behind element 1"),
        (JSON, b"[1,]", "element 2 is not JSON"),
        (JSON, b"[1", "neither , nor ] behind element 1"),
        (JSON, b"[1] 2", "there is more behind its value"),
        (JSON, b'{"a": 1}\n{"a": 2}', "several values are NDJSON"),
        (JSON, b"", "the body is not JSON"),
    ],
)
def test_the_first_bad_line_is_named_and_nothing_of_the_body_is_taken_in(kind: str, body: bytes, told: str) -> None:
    async def check(post: Client, kept: Kept) -> None:
        status, text, _ = await post(body, kind)
        assert (status, told in text) == (400, True), text

    assert with_source(check).lines == []


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (NDJSON, b'{"a": 1}\n' * 30_000 + b"{"),
        (JSON, b"[" + b'{"a": 1},' * 30_000 + b"]"),
        (JSON, b'"' + b"x" * 300_000),
        (TEXT, b"\n" * 300_000),
    ],
)
def test_a_long_body_that_is_wrong_at_its_end_is_taken_in_not_at_all_and_a_right_one_whole(kind: str, body: bytes) -> None:
    right = b"".join(b"line %d\n" % number for number in range(30_000))

    async def check(post: Client, kept: Kept) -> None:
        status, text, _ = await post(body, kind)
        assert status in (400, 413), text
        assert (await post(right))[:2] == (200, '{"lines": 30000}\n')
        assert (await post(gzip.compress(right), Content_Encoding="gzip"))[0] == 200

    assert with_source(check).lines == right.splitlines() * 2


@pytest.mark.parametrize("coding", ["gzip", "deflate", "raw", "zstd"])
def test_bodies_may_be_compressed(coding: str) -> None:
    raw = zlib.compressobj(wbits=-15)
    make = {
        "gzip": gzip.compress,
        "deflate": zlib.compress,
        "zstd": zstd.compress,
        "raw": lambda data: raw.compress(data) + raw.flush(),
    }
    body = b"\n".join(b"line %d" % number for number in range(10_000))

    async def check(post: Client, kept: Kept) -> None:
        name = "deflate" if coding == "raw" else coding
        packed = make[coding](body)
        assert (await post(packed, Content_Encoding=name))[0] == 200
        assert (await post(packed[:-9], Content_Encoding=name))[0] == 400
        assert (await post(b"no such thing", Content_Encoding=name))[0] == 400

    assert with_source(check).lines == body.split(b"\n")


def test_members_of_gzip_and_frames_of_zstd_may_follow_one_another() -> None:
    async def check(post: Client, kept: Kept) -> None:
        assert (await post(gzip.compress(b"a\n") + gzip.compress(b"b"), Content_Encoding="gzip"))[0] == 200
        assert (await post(zstd.compress(b"c\n") + zstd.compress(b"d"), Content_Encoding="zstd"))[0] == 200

    assert with_source(check).lines == [b"a", b"b", b"c", b"d"]


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
def test_a_bomb_is_refused_by_its_length(coding: str) -> None:
    zeros = b"\0" * (200 << 20)
    bomb = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstd.compress}[coding](zeros)

    async def check(post: Client, kept: Kept) -> None:
        assert (await post(bomb, Content_Encoding=coding))[0] == 413

    assert with_source(check).lines == []


def test_what_cannot_be_understood_is_told() -> None:
    async def check(post: Client, kept: Kept) -> None:
        status, text, headers = await post(b"a", Content_Encoding="br")
        assert (status, headers["Accept-Encoding"]) == (415, "gzip, deflate, zstd")
        status, text, _ = await post(b"a", "application/x-www-form-urlencoded")
        assert (status, "application/x-ndjson" in text) == (415, True)
        assert (await post(b"a", path="/other"))[0] == 404
        status, _, headers = await post(b"a", method="PUT")
        assert (status, headers["Allow"]) == (405, "POST")
        assert (await post(b"", method="HEAD"))[:2] == (405, "")
        assert (await post(b"\n" * (MOST_LINES + 1)))[0] == 413

    assert with_source(check).lines == []


def test_a_longer_body_is_refused_whether_its_length_is_told_or_not() -> None:
    async def check(post: Client, kept: Kept) -> None:
        assert (await post(b"x" * 2048))[0] == 200
        assert (await post(b"x" * 2049))[0] == 413
        reader, writer = await asyncio.open_connection("127.0.0.1", post.port)
        writer.write(b"POST /logs HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(40):
            writer.write(b"40\r\n" + b"y" * 64 + b"\r\n")
        assert (await asyncio.wait_for(reader.readline(), 30)).startswith(b"HTTP/1.1 413")
        writer.close()

    assert with_source(check, max_body_bytes=2048).lines == [b"x" * 2048]


def test_who_expects_to_be_told_to_go_on_is_told_or_refused_before_the_body() -> None:
    async def check(post: Client, kept: Kept) -> None:
        head = (
            b"POST /logs HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
        )
        reader, writer = await asyncio.open_connection("127.0.0.1", post.port)
        writer.write(head % 5)
        assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30) == b"HTTP/1.1 100 \r\n\r\n"
        writer.write(b"hello")
        assert (await asyncio.wait_for(reader.readuntil(b"}\n"), 30)).startswith(b"HTTP/1.1 200")
        writer.write(head % 10_000_000)
        assert (await asyncio.wait_for(reader.read(), 30)).startswith(b"HTTP/1.1 413")
        writer.close()

    assert with_source(check).lines == [b"hello"]


def test_a_connection_is_used_again_and_requests_may_follow_without_waiting() -> None:
    async def check(post: Client, kept: Kept) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", post.port)
        one = b"POST /logs HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: 1\r\n\r\n%d"
        writer.write(b"".join(one % number for number in range(5)))
        for _ in range(5):
            assert (await asyncio.wait_for(reader.readuntil(b"}\n"), 30)).startswith(b"HTTP/1.1 200")
        writer.close()

    assert with_source(check).lines == [b"0", b"1", b"2", b"3", b"4"]


def test_clients_that_are_connected_and_ask_for_nothing_make_room_for_others_the_longest_first() -> None:
    async def check(post: Client, kept: Kept) -> None:
        silent = [await asyncio.open_connection("127.0.0.1", post.port) for _ in range(3)]
        silent[0][1].write(b"POST /logs HTT")  # a head that does not end is nothing that was asked for
        await asyncio.sleep(0.1)
        assert (await post(b"a"))[0] == 200
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(silent[0][0].read(), 30) == b""
        for _, writer in silent:
            writer.close()

    assert with_source(check, max_connections=3).lines == [b"a"]


def test_success_is_told_only_when_the_lines_are_durable_and_a_full_spool_says_come_again() -> None:
    async def check(post: Client, kept: Kept) -> None:
        kept.told_full = False
        kept.room.clear()
        waiting = asyncio.ensure_future(post(b"slow disk"))
        await asyncio.wait_for(kept.asked.wait(), 30)
        assert not waiting.done()
        kept.told_full = True
        status, _, headers = await post(b"no room")
        assert (status, headers["Retry-After"]) == (503, "5")
        kept.room.set()
        assert (await waiting)[0] == 200

    assert with_source(check).lines == [b"slow disk"]


def test_the_token_or_the_name_and_password_let_in_and_a_wrong_one_is_answered_late() -> None:
    keys = {"bearer.token": "t0p-secret-token", "basic.user": "shipper", "basic.password": "pass:wörd"}

    def basic(name: str, password: str) -> str:
        return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()

    async def check(post: Client, kept: Kept) -> None:
        assert (await post(b"by token", Authorization="Bearer t0p-secret-token"))[0] == 200
        assert (await post(b"by name", Authorization=basic("shipper", "pass:wörd")))[0] == 200
        began = time.monotonic()
        for wrong in (
            "Bearer t0p-secret-tokem",
            "Bearer ",
            basic("shipper", "t0p-secret-token"),
            basic("x", "pass:wörd"),
            "Basic !",
        ):
            status, text, headers = await post(b"refused", Authorization=wrong)
            assert (status, headers["WWW-Authenticate"]) == (401, 'Bearer realm="headrace"')
            assert "secret" not in text
        assert time.monotonic() - began > 1, "0.1, 0.2, 0.4 … s"
        assert (await post(b"refused"))[0] == 401
        assert (await post(b"refused", path="/other"))[0] == 401, "who may not post is not told what is there"

    assert with_source(check, **keys).lines == [b"by token", b"by name"]


def test_https_with_certificates_of_clients(tmp_path: Path) -> None:
    authority = new_authority("test", now=NOW)
    (tmp_path / "server.pem").write_bytes(sign(authority, "server", ["localhost"], now=NOW).pem)
    (tmp_path / "client.pem").write_bytes(sign(authority, "client", [], now=NOW).pem)
    (tmp_path / "ca.pem").write_bytes(authority.certificate_pem)

    async def check(post: Client, kept: Kept) -> None:
        post.tls = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
        with pytest.raises(OSError):  # noqa: PT011 - which one depends on when the refusal is read
            await post(b"refused")
        post.tls.load_cert_chain(tmp_path / "client.pem")
        assert (await post(b"known"))[0] == 200
        post.tls = None
        with pytest.raises(OSError):  # noqa: PT011
            await post(b"refused")

    keys = {"ssl.keystore.location": tmp_path / "server.pem", "ssl.truststore.location": tmp_path / "ca.pem"}
    kept = with_source(check, **keys)
    assert [(each.line, each.source) for each in kept.pushed] == [(b"known", "https://127.0.0.1")]


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01",
        b"GET\r\n\r\n",
        b"POST /logs HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"POST /logs HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST /logs HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"POST /logs HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 100_000,
        b"POST /" + b"y" * 100_000,
    ],
)
def test_what_is_no_http_is_answered_400_or_closed_and_the_next_client_is_served(sent: bytes) -> None:
    async def check(post: Client, kept: Kept) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", post.port)
        writer.write(sent)
        answer = await asyncio.wait_for(reader.read(), 30)
        assert answer == b"" or answer.startswith((b"HTTP/1.1 4",)), answer
        writer.close()
        assert (await post(b"next"))[0] == 200

    assert with_source(check).lines == [b"next"]


def test_an_intake_that_fails_gives_no_success_and_ends_the_input() -> None:
    async def check() -> None:
        kept = Kept(fails=RuntimeError("the spool's disk"))
        source = HttpSource("http", HttpInputKeys.model_validate({"listen": "127.0.0.1:0"}), StillClock(), DOORS, SCRATCH)
        async with running(source, kept) as task:
            with pytest.raises(OSError):  # noqa: PT011 - closed without an answer
                await Client(source)(b"lost by nobody")
            with pytest.raises(RuntimeError, match="the spool's disk"):
                await asyncio.wait_for(task, 30)

    asyncio.run(check())


def test_a_port_that_is_taken_is_told_at_once() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        source = HttpSource("http", HttpInputKeys.model_validate({"listen": address}), StillClock(), DOORS, SCRATCH)
        with pytest.raises(UsageError, match=f"http {address}: Address already in use"):
            asyncio.run(source.run(Kept()))


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"basic.user": "a"}, "basic.user and basic.password need each other"),
        ({"bearer.token": "short"}, "at least 8"),
        ({"path": "/v1/logs"}, "OTLP"),
        ({"ssl.truststore.location": "/x"}, "needs ssl.keystore.location"),
    ],
)
def test_keys_that_do_not_go_together_are_refused(keys: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        HttpInputKeys.model_validate({"listen": "127.0.0.1:0", **keys})


def test_json_of_any_size_within_the_bound_goes_through() -> None:
    records = [{"number": number, "text": "x" * 100} for number in range(20_000)]

    async def check(post: Client, kept: Kept) -> None:
        assert (await post(json.dumps(records), JSON))[0] == 200

    assert [json.loads(line) for line in with_source(check).lines] == records

"""Syslog by real senders over real sockets: util-linux' logger, Python's own handler, rsyslog, and peers that misbehave."""

import asyncio
import contextlib
import datetime
import logging
import logging.handlers
import os
import shutil
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
from prometheus_client import REGISTRY

from headrace.agents.sources.doors import Doors
from headrace.agents.sources.syslog import SyslogSource
from headrace.agents.sources.syslog_keys import SyslogKeys
from headrace.broker.security.certificates import new_authority, sign
from headrace.errors import UsageError
from tests.integration.agents.sources.collecting import DOORS, NOW_MS, Kept, StillClock, command, running

NOW = datetime.datetime.now(datetime.UTC)
ANY = "127.0.0.1:0"
RSYSLOG = Path(__file__).parents[4] / ".peers" / "rsyslog"
Missing = Callable[[str, str], NoReturn]


def source(**keys: Any) -> SyslogSource:
    return SyslogSource("syslog", SyslogKeys.model_validate(keys), StillClock(), DOORS)


@pytest.fixture
def logger(missing: Missing) -> str:
    """util-linux' logger."""
    return shutil.which("logger") or missing("logger", "apt-get install bsdutils")


def test_logger_over_udp_and_tcp_and_unix(tmp_path: Path, logger: str) -> None:
    asyncio.run(_logger_everywhere(tmp_path, logger))


async def _logger_everywhere(tmp_path: Path, logger: str) -> None:
    paths = {"unix": str(tmp_path / "log"), "unix_stream": str(tmp_path / "stream")}
    kept, listening = Kept(), source(udp=ANY, tcp=ANY, **paths)
    async with running(listening, kept):
        to_udp = ["-n", "127.0.0.1", "-P", str(listening.ports["udp"]), "-d", "-t", "over-udp"]
        to_tcp = ["-n", "127.0.0.1", "-P", str(listening.ports["tcp"]), "-T", "-t", "over-tcp"]
        await command(logger, *to_udp, "--rfc5424", "-p", "mail.err", "hello")
        await command(logger, *to_udp, "--rfc3164", "hello again")
        await command(logger, *to_tcp, "--rfc5424", stdin=b"a\nb\n")
        await command(logger, *to_tcp, "--octet-count", stdin=b"c\nd\n")
        await command(logger, "-u", paths["unix"], "-t", "local", "e")
        await command(logger, "-u", paths["unix_stream"], "-t", "local", "f")
        taken = await kept.wait_for(8)
    ends = sorted((each.line[-11:].split()[-1], each.source.split(":")[0], each.service) for each in taken)
    assert ends == [
        (b"a", "syslog+tcp", "over-tcp"),
        (b"again", "syslog+udp", "over-udp"),
        (b"b", "syslog+tcp", "over-tcp"),
        (b"c", "syslog+tcp", "over-tcp"),
        (b"d", "syslog+tcp", "over-tcp"),
        (b"e", "syslog+unix", "local"),
        (b"f", "syslog+unix", "local"),
        (b"hello", "syslog+udp", "over-udp"),
    ]
    mail = next(each for each in taken if each.line.endswith(b"hello"))
    assert mail.line.startswith(b"<19>1 ")
    assert mail.host is not None
    assert (mail.source, mail.received_ms) == ("syslog+udp://127.0.0.1", NOW_MS)
    assert os.listdir(tmp_path) == [], "the sockets are taken away"


@pytest.mark.parametrize(("kind", "transport"), [(socket.SOCK_DGRAM, "udp"), (socket.SOCK_STREAM, "tcp")])
def test_pythons_handler_over_udp_and_tcp(kind: socket.SocketKind, transport: str) -> None:
    async def check() -> None:
        kept, listening = Kept(), source(**{transport: ANY})
        async with running(listening, kept):

            def send() -> None:
                handler = logging.handlers.SysLogHandler(("127.0.0.1", listening.ports[transport]), socktype=kind)
                for text in ("one", "two\nlines", "ünï"):
                    handler.emit(logging.makeLogRecord({"msg": text}))
                handler.close()

            await asyncio.to_thread(send)
            await kept.wait_for(3)
        assert kept.lines == [b"<12>one", b"<12>two\nlines", "<12>ünï".encode()]  # it ends each with a NUL

    asyncio.run(check())


def test_rsyslog_over_tcp_and_mutual_tls(tmp_path: Path, missing: Missing) -> None:
    if not (RSYSLOG / "complete").exists():
        missing("rsyslog", "run make peers")
    asyncio.run(_rsyslog(tmp_path))


async def _rsyslog(tmp_path: Path) -> None:
    authority = new_authority("test", now=NOW)
    server, client = sign(authority, "server", ["localhost"], now=NOW), sign(authority, "client", [], now=NOW)
    (tmp_path / "server.pem").write_bytes(server.pem)
    (tmp_path / "ca.pem").write_bytes(authority.certificate_pem)
    (tmp_path / "client.pem").write_bytes(client.pem)
    lines = [f"line {number} of rsyslog" for number in range(500)]
    (tmp_path / "app.log").write_text("\n".join(lines) + "\n")
    listening = source(
        tcp=ANY,
        tls=ANY,
        **{"ssl.keystore.location": tmp_path / "server.pem", "ssl.truststore.location": tmp_path / "ca.pem"},
    )
    kept = Kept()
    async with running(listening, kept):
        config = _rsyslog_config(tmp_path, listening.ports["tcp"], listening.ports["tls"])
        libraries = RSYSLOG / "usr/lib/x86_64-linux-gnu"
        process = await asyncio.create_subprocess_exec(
            str(RSYSLOG / "usr/sbin/rsyslogd"), "-n", "-f", str(config), "-i", str(tmp_path / "pid"),
            env={**os.environ, "LD_LIBRARY_PATH": str(libraries), "RSYSLOG_MODDIR": str(libraries / "rsyslog")},
        )  # fmt: skip
        try:
            await kept.wait_for(2 * len(lines))
        finally:
            process.kill()
            await process.wait()
    for transport in ("tcp", "tls"):
        taken = [each for each in kept.pushed if each.source == f"syslog+{transport}://127.0.0.1"]
        assert [each.line.split(b" - ", 2)[-1].split(b"] ")[-1].decode() for each in taken] == lines
        assert {each.service for each in taken} == {"app"}
        assert {each.host for each in taken} == {"rsyslogs-host"}


def _rsyslog_config(directory: Path, tcp: int, tls: int) -> Path:
    file = directory / "rsyslog.conf"
    file.write_text(f"""
global(workDirectory="{directory}" localHostname="rsyslogs-host" defaultNetstreamDriverCAFile="{directory}/ca.pem"
  defaultNetstreamDriverCertFile="{directory}/client.pem" defaultNetstreamDriverKeyFile="{directory}/client.pem")
module(load="imfile")
input(type="imfile" file="{directory}/app.log" tag="app")
template(name="lines" type="string" string="<%PRI%>1 %TIMESTAMP:::date-rfc3339% %HOSTNAME% %APP-NAME% - - - %msg%\\n")
action(type="omfwd" target="127.0.0.1" port="{tcp}" protocol="tcp" template="lines")
action(type="omfwd" target="127.0.0.1" port="{tls}" protocol="tcp" TCP_Framing="octet-counted"
  template="RSYSLOG_SyslogProtocol23Format" StreamDriver="gtls" StreamDriverMode="1" StreamDriverAuthMode="anon")
""")
    return file


def test_without_a_certificate_of_our_authority_nobody_sends_and_a_new_authority_counts_at_once(tmp_path: Path) -> None:
    old, new = new_authority("old", now=NOW), new_authority("new", now=NOW)
    for name, authority in (("old", old), ("new", new)):
        (tmp_path / f"{name}.pem").write_bytes(sign(authority, "client", [], now=NOW).pem)
    (tmp_path / "server.pem").write_bytes(sign(old, "server", ["localhost"], now=NOW).pem)
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(old.certificate_pem)

    def send(port: int, certificate: str | None, message: bytes) -> None:
        context = ssl.create_default_context(cadata=old.certificate_pem.decode())
        if certificate is not None:
            context.load_cert_chain(tmp_path / f"{certificate}.pem")
        with (
            socket.create_connection(("127.0.0.1", port), timeout=10) as sock,
            context.wrap_socket(sock, server_hostname="localhost") as tls,
        ):
            tls.sendall(b"%d %s" % (len(message), message))
            tls.unwrap()

    async def check() -> None:
        keys = {"ssl.keystore.location": tmp_path / "server.pem", "ssl.truststore.location": trusted}
        kept, listening = Kept(), source(tls=ANY, **keys)
        async with running(listening, kept):
            port = listening.ports["tls"]
            await asyncio.to_thread(send, port, "old", b"<1>by the old one")
            for certificate in (None, "new"):
                with contextlib.suppress(OSError):  # whether and how the client hears of it depends on when it looks
                    await asyncio.to_thread(send, port, certificate, b"<1>refused")
            trusted.write_bytes(new.certificate_pem)
            await asyncio.to_thread(send, port, "new", b"<1>by the new one")
            with contextlib.suppress(OSError):
                await asyncio.to_thread(send, port, "old", b"<1>refused")
            await asyncio.to_thread(send, port, "new", b"<1>by the new one again")
            await kept.wait_for(3)
        assert kept.lines == [b"<1>by the old one", b"<1>by the new one", b"<1>by the new one again"]

    asyncio.run(check())


def test_a_full_spool_makes_a_stream_wait_in_the_kernel_and_nothing_is_lost() -> None:
    async def check() -> None:
        kept, listening = Kept(), source(tcp=ANY)
        kept.room.clear()
        async with running(listening, kept):
            sock = socket.create_connection(("127.0.0.1", listening.ports["tcp"]))
            sock.setblocking(False)
            message = b"<1>" + b"x" * 996 + b"\n"
            stream = memoryview(message * 30_000)
            sent = 0
            for _ in range(100):  # until it takes no more
                try:
                    sent += sock.send(stream[sent:])
                except BlockingIOError:
                    await asyncio.sleep(0.01)
            assert sent < 20_000_000, "it is not read while the spool is full"
            kept.room.set()
            while sent < len(stream):
                try:
                    sent += sock.send(stream[sent : sent + 100_000])
                except BlockingIOError:
                    await asyncio.sleep(0.001)
            sock.close()
            await kept.wait_for(30_000)
        assert set(kept.lines) == {message[:-1]}
        assert len(kept.lines) == 30_000

    asyncio.run(check())


def test_datagrams_that_the_kernel_has_no_room_for_are_counted() -> None:
    async def check() -> None:
        kept, listening = Kept(), source(udp=ANY, udp_buffer_bytes=16_384)
        kept.room.clear()
        async with running(listening, kept):
            port = listening.ports["udp"]
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                for number in range(500):
                    sender.sendto(b"<1>datagram %d" % number, ("127.0.0.1", port))
            kept.room.set()
            dropped = 0.0
            async with asyncio.timeout(30):
                while not dropped or dropped + len(kept.lines) < 500:
                    await asyncio.sleep(0.05)
                    labels = {"address": f"udp:{port}"}
                    dropped = REGISTRY.get_sample_value("headrace_agent_syslog_dropped_datagrams_total", labels) or 0.0
            assert dropped + len(kept.lines) == 500

    asyncio.run(check())


def test_what_was_read_of_a_message_is_taken_in_when_the_input_stops() -> None:
    async def check() -> None:
        kept, listening = Kept(), source(tcp=ANY)
        async with running(listening, kept):
            _, writer = await asyncio.open_connection("127.0.0.1", listening.ports["tcp"])
            writer.write(b"<1>whole\n<1>no end yet")
            await kept.wait_for(1)
        assert kept.lines == [b"<1>whole", b"<1>no end yet"]

    asyncio.run(check())


@pytest.mark.parametrize("sent", [b"4 <1>axyz", b"4 <1>a\n\n\n-1 <2>b"])
def test_a_stream_that_cannot_be_understood_is_hung_up_on_after_what_was_understood(sent: bytes) -> None:
    async def check() -> None:
        kept, listening = Kept(), source(tcp=ANY)
        async with running(listening, kept):
            reader, writer = await asyncio.open_connection("127.0.0.1", listening.ports["tcp"])
            writer.write(sent)
            assert await asyncio.wait_for(reader.read(), 30) == b""
            writer.close()
        assert kept.lines == [b"<1>a"]

    asyncio.run(check())


def test_one_connection_too_many_is_turned_away_and_a_silent_one_is_hung_up_on_with_what_it_sent() -> None:
    async def check() -> None:
        kept, listening = Kept(), source(tcp=ANY, max_connections=1, idle_timeout_s=0.5)
        async with running(listening, kept):
            port = listening.ports["tcp"]
            silent, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"<1>no end yet")
            await writer.drain()
            other, _ = await asyncio.open_connection("127.0.0.1", port)
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.wait_for(other.read(), 30) == b""
            assert await asyncio.wait_for(silent.read(), 30) == b""
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"<1>there is room again\n")
            await kept.wait_for(2)
        assert kept.lines == [b"<1>no end yet", b"<1>there is room again"]

    asyncio.run(check())


def test_an_intake_that_fails_ends_the_input_with_its_error() -> None:
    async def check() -> None:
        kept, listening = Kept(fails=RuntimeError("the spool's disk")), source(tcp=ANY)
        async with running(listening, kept) as task:
            _, writer = await asyncio.open_connection("127.0.0.1", listening.ports["tcp"])
            writer.write(b"<1>a\n")
            with pytest.raises(RuntimeError, match="the spool's disk"):
                await asyncio.wait_for(task, 30)

    asyncio.run(check())


def test_a_path_that_a_killed_agent_left_is_taken_and_one_in_use_is_not(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as left:
        left.bind(str(path))  # and never removed, as after kill -9

    async def check() -> None:
        async with running(source(unix=path, udp=ANY), Kept()):
            with pytest.raises(UsageError, match="somebody else listens there"):
                await Doors().open(SyslogKeys.model_validate({"unix": path}).doors("of another agent"))
        assert not path.exists()
        path.write_text("precious")
        with pytest.raises(UsageError, match="something else than a socket"):
            await source(unix=path).run(Kept())
        assert path.read_text() == "precious"

    asyncio.run(check())


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_port_that_is_taken_is_told_at_once(transport: str) -> None:
    kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UsageError, match=f"syslog {transport} {address}: Address already in use; choose another address"):
            asyncio.run(source(**{transport: address}).run(Kept()))

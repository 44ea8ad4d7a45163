"""Each bound of a broker's connections, on a real process with real sockets."""

import socket
import struct
import threading
import time
from pathlib import Path

from tests.integration.broker.bad_peers import closed_lines, is_closed
from tests.integration.broker.requests import metadata
from tests.integration.groups.wire_client import WireClient
from tests.processes import Part, broker


def connect(part: Part) -> socket.socket:
    return socket.create_connection(("127.0.0.1", part.ports["kafka"]), timeout=10)


def test_a_connection_beyond_the_bound_of_its_address_is_closed_and_those_before_go_on(tmp_path: Path) -> None:
    with (
        broker(tmp_path, max_connections_per_ip=3) as part,
        WireClient(part.ports["kafka"]) as first,
        connect(part) as second,
        connect(part),
    ):
        metadata(first, "t")
        with connect(part) as beyond:
            assert is_closed(beyond)
        assert closed_lines(part) == ["connection closed: as many as max.connections.per.ip allows are open"]
        assert metadata(first, "t").topics[0].error_code == 0
        second.close()
        time.sleep(0.1)
        with WireClient(part.ports["kafka"]) as another:
            assert metadata(another, "t").topics[0].error_code == 0


def test_max_connections_bounds_all_addresses_together(tmp_path: Path) -> None:
    with broker(tmp_path, max_connections=2) as part, connect(part), connect(part), connect(part) as beyond:
        assert is_closed(beyond)
        assert closed_lines(part) == ["connection closed: as many as max.connections allows are open"]


def test_a_flood_is_answered_in_order_and_another_client_hardly_waits_for_it(tmp_path: Path) -> None:
    count = 60_000  # of which the first reads alone hold ten thousands
    with broker(tmp_path) as part, connect(part) as flood, WireClient(part.ports["kafka"]) as other:
        metadata(other, "t")
        sender = threading.Thread(target=flood.sendall, args=(b"".join(_api_versions(number) for number in range(count)),))
        sender.start()
        flood.settimeout(20)
        answers, waits = flood.makefile("rb"), []
        for number in range(count):
            (size,) = struct.unpack(">i", answers.read(4))
            assert int.from_bytes(answers.read(size)[:4], "big") == number
            if number % 2000 == 1000:
                began = time.monotonic()
                assert metadata(other, "t").topics[0].error_code == 0
                waits.append(time.monotonic() - began)
        sender.join()
        assert sorted(waits)[len(waits) // 2] < 0.05, waits  # the whole flood takes more than a second


def _api_versions(correlation_id: int) -> bytes:
    return struct.pack(">ihhih", 11, 18, 0, correlation_id, 1) + b"f"

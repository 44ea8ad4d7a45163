"""Each bound of a broker's connections, on a real process with real sockets."""

import socket
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

"""What the broker's log says of what happens, and by whom."""

import json
import socket
from pathlib import Path
from typing import Any

from headrace.flood import LINES
from tests.integration.broker.requests import DELETE_TOPICS, create_topic, metadata
from tests.integration.broker.test_quotas import alter, alteration
from tests.integration.groups.wire_client import WireClient
from tests.processes import Part, broker


def lines(part: Part, message: str) -> list[dict[str, Any]]:
    logged = [json.loads(line) for line in part.log_file.read_text().splitlines()]
    return [line for line in logged if line["msg"].startswith(message)]


def test_topics_and_quotas_are_told_with_who_changed_them(tmp_path: Path) -> None:
    with broker(tmp_path) as part, WireClient(part.ports["kafka"]) as client:
        create_topic(client, "made", 2, retention_ms="60000")
        metadata(client, "made-by-asking")
        client.call(DELETE_TOPICS, 6, {"topics": [{"name": "made", "topic_id": None}], "timeout": 9000})
        assert alter(client, alteration({"user": "alice"}, producer_byte_rate=1000)) == [0]
        made, asked = lines(part, "topic created")
        assert (made["topic"], made["partitions"], made["by"]) == ("made", 2, "User:ANONYMOUS")
        assert made["configs"] == {"retention.ms": "60000"}
        assert asked["by"] == "User:ANONYMOUS"
        assert lines(part, "topic deleted")[0]["by"] == "User:ANONYMOUS"
        (quota,) = lines(part, "quota changed")
        assert quota["entity"] == {"user": "alice"}
        assert quota["quotas"] == {"producer_byte_rate": 1000}
        assert quota["by"] == "User:ANONYMOUS"


def test_a_flood_of_bad_clients_does_not_flood_the_log(tmp_path: Path) -> None:
    with broker(tmp_path) as part:
        for _ in range(LINES * 10):
            with socket.create_connection(("127.0.0.1", part.ports["kafka"]), timeout=5) as bad:
                bad.sendall(b"GET / HTTP/1.1\r\n\r\n")
                bad.recv(10)
        assert part.stop() == 0
        closed = lines(part, "connection closed")
        assert LINES <= len(closed) <= 4 * LINES  # windows of ten seconds
        assert closed[0]["client"].startswith("127.0.0.1:")

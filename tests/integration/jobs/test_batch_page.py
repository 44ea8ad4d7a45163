"""The code of docs/batch.md does what the page says."""

import re
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from tests.landed_tables import Event, TableWriter
from tests.processes import broker

PAGE = Path(__file__).parents[3] / "docs" / "batch.md"
T0 = 1_763_900_400_000


def code(naming):
    """The page's code that names a thing."""
    (found,) = (text for text in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL) if naming in text)
    return found


def test_errors_by_host_of_a_landed_table(tmp_path, capsys):
    events = [Event("a", n, T0 + n, "GET /x 500" if n % 4 else "GET / 200", host=f"web-{n % 2}") for n in range(40)]
    TableWriter(tmp_path, "logs").land_events([*events, Event("a", 99, T0 - 86_400_000, "GET /x 500")])
    exec(code("errors_by_host"), {"ROOT": tmp_path, "__name__": "page"})
    assert sorted(capsys.readouterr().out.splitlines()) == ["web-0 10", "web-1 20"]


def test_bytes_by_partition_of_a_topic(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("USER_OF_JOBS", "nightly")
    with broker(tmp_path, num_partitions=2) as part:
        bootstrap = part.config["listeners"].removeprefix("PLAINTEXT://")
        admin = AdminClient({"bootstrap.servers": bootstrap})
        (made,) = admin.create_topics([NewTopic("orders", 2, 1)]).values()
        made.result(30)
        producer = Producer({"bootstrap.servers": bootstrap})
        for number in range(10):
            producer.produce("orders", b"x" * (number + 1), partition=number % 2)
        assert producer.flush(30) == 0
        exec(code("USER_OF_JOBS"), {"BOOTSTRAP": bootstrap, "__name__": "page"})
    assert sorted(capsys.readouterr().out.splitlines()) == ["0 9", "1 18"]


def test_visits_of_a_table_and_orders_of_a_topic_in_windows_of_ten_minutes(tmp_path, capsys):
    TableWriter(tmp_path, "logs").land_events([Event("a", n, T0 + n * 60_000) for n in range(25)])
    with broker(tmp_path / "kafka", num_partitions=1) as part:
        bootstrap = part.config["listeners"].removeprefix("PLAINTEXT://")
        producer = Producer({"bootstrap.servers": bootstrap})
        for number in range(15):
            producer.produce("orders", b"x", timestamp=T0 + number * 60_000)
        producer.produce("orders", b"x", timestamp=T0 + 86_400_000)
        assert producer.flush(30) == 0
        exec(code("visits_and_orders"), {"ROOT": tmp_path, "BOOTSTRAP": bootstrap, "__name__": "page"})
    assert sorted(capsys.readouterr().out.splitlines()) == [
        "2025-11-23T12:20:00 orders 10",
        "2025-11-23T12:20:00 visits 10",
        "2025-11-23T12:30:00 orders 5",
        "2025-11-23T12:30:00 visits 10",
        "2025-11-23T12:40:00 visits 5",
    ]


@pytest.mark.parametrize("runner", ["inprocess", "multiprocess", "dask", "portable", "prism", "flink", "spark"])
def test_every_runner_is_in_the_page_s_tables(runner):
    assert PAGE.read_text().count(runner) > 1

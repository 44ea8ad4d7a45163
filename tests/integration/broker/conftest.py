"""A broker for the tests of one module, unless the module starts its own `part`; and a client for each test."""

from collections.abc import Iterator

import pytest

from tests.integration.groups.wire_client import WireClient
from tests.processes import Part, broker


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Part]:
    with broker(tmp_path_factory.mktemp("broker")) as running:
        yield running


@pytest.fixture
def client(part: Part) -> Iterator[WireClient]:
    with WireClient(part.ports["kafka"]) as connected:
        yield connected

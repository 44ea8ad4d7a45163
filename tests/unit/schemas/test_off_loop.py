"""Large schemas are worked on beside the loop: one at a time, few waiting, and nobody else waits for them."""

import asyncio
import json
import threading
import time

import pytest

from headrace.schemas.off_loop import off_loop
from headrace.schemas.refusals import RestError
from headrace.schemas.requests import REGISTRY
from headrace.schemas.schema import Schema
from tests.unit.schemas.rest_api import Api, serve


def wide(name: str, fields: int = 4_000) -> str:
    return json.dumps({"type": "record", "name": name, "fields": [{"name": f"f{n}", "type": "long"} for n in range(fields)]})


def test_what_a_large_schema_takes_is_not_taken_from_the_loop() -> None:
    async def scenario(api: Api) -> None:
        for number, path in enumerate(("/subjects/s/versions", "/subjects/s", "/compatibility/subjects/s/versions")):
            text = wide("R", 4_000 + number // 2)
            of_loop, of_process = time.thread_time(), time.process_time()
            status, _ = await api("POST", path, {"schema": text})
            of_loop, of_process = time.thread_time() - of_loop, time.process_time() - of_process
            assert status == 200
            assert of_loop < of_process / 3, (path, of_loop, of_process)

    serve(scenario)


def test_others_are_answered_while_large_schemas_wait() -> None:
    async def scenario(api: Api) -> None:
        release = threading.Event()
        held = asyncio.create_task(off_loop(100_000, release.wait))
        try:
            large = asyncio.create_task(api.register("large", wide("R")))
            assert await api.register("small", '"long"') == (200, {"id": 1})
            assert await api("GET", "/subjects") == (200, ["small"])
            assert (await api("POST", "/compatibility/subjects/small/versions", {"schema": '"int"'}))[0] == 200
            assert not large.done()
        finally:
            release.set()
        assert await large == (200, {"id": 2})
        await held

    serve(scenario)


def test_nobody_waits_to_register_while_a_large_schema_is_checked() -> None:
    async def scenario(api: Api) -> None:
        assert api.client.app is not None
        registry = api.client.app[REGISTRY]
        await registry.register("large", Schema("AVRO", wide("R")))
        release = threading.Event()
        held = asyncio.create_task(off_loop(100_000, release.wait))
        large = asyncio.create_task(registry.register("large", Schema("AVRO", wide("R", 3_999))))  # is to be checked now
        try:
            async with asyncio.timeout(20):
                assert await api.register("small", '"long"') == (200, {"id": 2})
                assert (await api("PUT", "/config/large", {"compatibility": "FORWARD"}))[0] == 200
            assert not large.done()
        finally:
            release.set()
        with pytest.raises(RestError, match="compatibility: 'FORWARD'"):  # what is in force when it would be registered
            await large
        await held

    serve(scenario)


def test_no_more_large_schemas_wait_than_fit_in_memory() -> None:
    async def scenario(api: Api) -> None:
        release = threading.Event()
        waiting = [asyncio.create_task(off_loop(100_000, release.wait)) for _ in range(32)]
        await asyncio.sleep(0)
        try:
            assert await api.refused("POST", "/subjects/large/versions", {"schema": wide("R")}) == (429, 42902)
            assert await api.register("small", '"long"') == (200, {"id": 1})
        finally:
            release.set()
        await asyncio.gather(*waiting)
        assert (await api.register("large", wide("R")))[0] == 200

    serve(scenario)

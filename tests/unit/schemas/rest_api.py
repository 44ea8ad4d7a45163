"""A registry over a log in memory, asked as a client asks it."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp.test_utils import TestClient, TestServer

from headrace.schemas.registry import Registry
from headrace.schemas.service import application
from tests.unit.schemas.memory_log import MemoryLog

CONTENT_TYPE = "application/vnd.schemaregistry.v1+json"


class Api:
    """Calls that answer (status, body)."""

    def __init__(self, client: TestClient[Any, Any], log: MemoryLog) -> None:
        self.client, self.log = client, log

    async def __call__(self, method: str, path: str, body: object = None, **options: Any) -> tuple[int, Any]:
        if body is not None:
            options["data"] = json.dumps(body)
            options["headers"] = {"Content-Type": CONTENT_TYPE, **options.get("headers", {})}
        async with self.client.request(method, path, **options) as response:
            assert response.content_type == CONTENT_TYPE
            return response.status, await response.json(content_type=CONTENT_TYPE)

    async def register(self, subject: str, schema: str, **members: Any) -> tuple[int, Any]:
        return await self("POST", f"/subjects/{subject}/versions", {"schema": schema, **members})

    async def refused(self, method: str, path: str, body: object = None) -> tuple[int, int]:
        """Status and code of an answer that is an error, and says something."""
        status, answer = await self(method, path, body)
        assert answer.keys() == {"error_code", "message"}, answer
        assert answer["message"]
        return status, answer["error_code"]


def serve(scenario: Callable[[Api], Awaitable[None]], log: MemoryLog | None = None, *, follow: bool = True) -> None:
    """Run a scenario against a registry on a log."""

    async def main() -> None:
        shared = log if log is not None else MemoryLog()
        registry = Registry(shared)
        if follow:
            shared.follow(registry)
        async with TestClient(TestServer(application(registry))) as client:
            await scenario(Api(client, shared))

    asyncio.run(main())

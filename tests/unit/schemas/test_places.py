"""Connections that ask for nothing."""

import asyncio
import contextlib

from aiohttp import ClientSession, web

from headrace.schemas.places import ASKING, Places, noted


def test_silent_connections_keep_nobody_out_and_who_is_served_stays() -> None:
    async def steps() -> None:
        goes_on, begun = asyncio.Event(), asyncio.Event()

        async def slow(_: web.Request) -> web.Response:
            begun.set()
            await goes_on.wait()
            return web.Response(text="at last")

        async def quick(_: web.Request) -> web.Response:
            return web.Response(text="at once")

        app = web.Application(middlewares=[noted])
        app[ASKING] = set()
        app.router.add_get("/slow", slow)
        app.router.add_get("/quick", quick)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        assert runner.server is not None
        server = await asyncio.get_running_loop().create_server(Places(runner.server, app[ASKING], most=5), "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        async with ClientSession(f"http://{host}:{port}") as client, contextlib.AsyncExitStack() as stack:
            waiting = asyncio.create_task(client.get("/slow"))
            await begun.wait()
            silent = []
            for _ in range(20):
                reader, writer = await asyncio.open_connection(host, port)
                stack.callback(writer.close)
                silent.append(reader)
            async with client.get("/quick") as answer:
                assert await answer.text() == "at once"
            assert await silent[0].read() == b"", "the oldest is closed"
            assert len(runner.server.connections) <= 5
            goes_on.set()
            async with await waiting as answer:
                assert await answer.text() == "at last"
        server.close()
        await runner.cleanup()

    asyncio.run(asyncio.wait_for(steps(), 20))

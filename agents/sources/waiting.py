"""Waiting on the loop for what is only a descriptor."""

import asyncio


async def readable(descriptor: int) -> None:
    """Wait until there is something to read, without reading, so that nothing is lost when the wait is cancelled."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)

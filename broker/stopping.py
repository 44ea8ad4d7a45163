"""How a broker stops so that nobody loses anything and the next start has nothing to recover.

Nothing more is accepted or read; long polls are answered with what there is; what is being worked on is answered within a
grace. Groups are left as they are: members that ask again after the restart are still members. Then the logs are closed, and
the marker of a clean shutdown is written.
"""

from collections.abc import Callable
from concurrent.futures import Executor

from headrace.broker.broker import Broker
from headrace.broker.network.server import Server
from headrace.stopping import Stop

GRACE_S = 3.0


async def stop_broker(broker: Broker, server: Server, executor: Executor, stop: Stop, close_logs: Callable[[], None]) -> None:
    """Stop everything in order; `close_logs` closes them and writes the marker."""
    stop.waits_for("requests that are being worked on")
    broker.waiters.close()
    broker.groups.let_go()
    await server.stop(GRACE_S)
    broker.groups.close()
    stop.waits_for("disk work that is under way")
    await broker.close()
    executor.shutdown(wait=True, cancel_futures=True)
    stop.waits_for("the logs to be written and closed")
    close_logs()
    stop.waits_for("the store to be closed")
    broker.store.close()

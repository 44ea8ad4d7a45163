"""What processes that work for a run have in common: the runner `multiprocess` starts this module, Dask's workers preload it.

Ctrl-C is the driver's to hear; the driver then ends its workers. What went wrong in a worker reaches people through the driver,
in one line: nothing of it is written to their terminal beside that.
"""

import logging
import signal
from typing import Any


def dask_setup(_: Any) -> None:
    """Called in each of Dask's workers when it starts."""
    _be_quiet()


def _be_quiet() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.getLogger().addHandler(logging.NullHandler())  # else the first that logs makes one that writes to the terminal
    logging.disable(logging.CRITICAL)


def main() -> None:
    _be_quiet()
    from apache_beam.runners.worker import sdk_worker, sdk_worker_main

    vars(sdk_worker)["print"] = lambda *_, **__: None  # a failure's traceback, which it also sends to the driver
    sdk_worker_main.main([])


if __name__ == "__main__":
    main()

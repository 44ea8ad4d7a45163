"""Beam's own servers on loopback: of itself it opens those of its workers on all addresses, and asks nobody who he is."""

import contextlib
from collections.abc import Iterator
from typing import Any, Final

import grpc
from apache_beam.runners.portability.fn_api_runner.worker_handlers import ExternalWorkerHandler

_EVERYWHERE: Final = ("", "[::]", "0.0.0.0")  # noqa: S104 - what is refused
_HOST: Final = "host_from_worker"
"""The method that says by which name a worker elsewhere knows this host."""


@contextlib.contextmanager
def bound_to_loopback() -> Iterator[None]:
    """While the block runs, gRPC servers that are to listen on every address listen on loopback, and workers are told so."""
    server, host = grpc.server, getattr(ExternalWorkerHandler, _HOST)

    def loopback_server(*args: Any, **kwargs: Any) -> Any:
        made = server(*args, **kwargs)
        add = made.add_insecure_port
        made.add_insecure_port = lambda address: add(_on_loopback(address))
        return made

    grpc.server = loopback_server
    setattr(ExternalWorkerHandler, _HOST, lambda _: "localhost")
    try:
        yield
    finally:
        grpc.server = server
        setattr(ExternalWorkerHandler, _HOST, host)


def _on_loopback(address: str) -> str:
    host, _, port = address.rpartition(":")
    return f"localhost:{port}" if host in _EVERYWHERE else address

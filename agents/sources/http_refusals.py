"""Why a request is not taken in: an HTTP status, and what its sender is told."""

from collections.abc import Mapping


class RequestError(Exception):
    """A request is answered with this `status`, this text, and these headers beside."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.headers = status, dict(headers or {})

"""Answers that are errors, in Confluent's terms (its `Errors.java` names the codes)."""

from headrace.errors import HeadraceError


class RestError(HeadraceError):
    """An answer that is an error: the HTTP status, the code, the message."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code

"""What obstore's errors mean, in one line."""

import contextlib
from collections.abc import Iterator

from headrace.errors import StorageError
from headrace.sinks.stores import credentials


@contextlib.contextmanager
def errors(path: str) -> Iterator[None]:
    """Raise obstore's errors as StorageError."""
    from obstore.exceptions import BaseError

    try:
        yield
    except (BaseError, OSError) as error:
        raise StorageError(f"{path}: {said(error)}") from error


def is_refusal(error: Exception) -> bool:
    """Whether the store did nothing, for good: no permission, no such bucket, or a request that was never sent."""
    from obstore.exceptions import PermissionDeniedError, UnauthenticatedError

    refusals = PermissionDeniedError | UnauthenticatedError | FileNotFoundError | PermissionError
    return isinstance(error, refusals) or credentials.remedy(error) is not None


def said(error: BaseException) -> str:
    """What the store says, without obstore's account of how it asked."""
    return credentials.remedy(error) or " ".join(str(error).split("Debug source:")[0].split())[:500]

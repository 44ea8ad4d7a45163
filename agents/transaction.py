"""One transaction of the agent's state, on any connection to it."""

import sqlite3
from types import TracebackType

from headrace.errors import StorageError


class Transaction:
    """BEGIN … COMMIT, or ROLLBACK; an error of the disk becomes a StorageError."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        try:
            self._db.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            raise StorageError(f"the agent's state: {error}") from error

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            try:
                self._db.execute("COMMIT")
            except sqlite3.OperationalError as failure:
                self._roll_back()
                raise StorageError(f"the agent's state: {failure}") from failure
            return
        self._roll_back()
        if isinstance(error, sqlite3.OperationalError):
            raise StorageError(f"the agent's state: {error}") from error

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

"""What aiohttp says of bytes that are no HTTP: one line each, without its traceback, and few of them, however many come."""

import logging

from aiohttp import web
from aiohttp.http import HttpProcessingError

logger = logging.getLogger(__name__)
_THEIRS = (HttpProcessingError, web.RequestPayloadError, UnicodeError)  # the last: a header is not text, and aiohttp quotes it


class BadRequests(logging.Filter):
    """For the logger `aiohttp.server`, which is not told what fails in our handlers (service.py)."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, ConnectionError):
            return False  # it went away before its answer
        if not isinstance(error, _THEIRS):
            return True
        client = record.args[0] if isinstance(record.args, tuple) and record.args else "?"
        logger.info("not HTTP", extra={"client": client, "reason": type(error).__name__})
        return False

"""Who a syslog message is from, by its own head (RFC 5424 §6.2, RFC 3164 §4.1). Pure.

The line that is shipped is the message as it came; its fields are the parser's (`parse: syslog`). Here only what the envelope
holds beside the fields is looked up: host and service.
"""

import functools
import re
from typing import Final

_HOST = rb"([!-~]{1,255}+)"
_RFC_5424: Final = re.compile(rb"<\d{1,3}>1 [!-~]{1,64}+ " + _HOST + rb" ([!-~]{1,48}+) ")
_TIME = rb"(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?:\.\d{1,9})?|\d{4}-\d\d-\d\dT[0-9:.]{8,18}(?:Z|[+-]\d\d:?\d\d)?)"
_TAG = rb"([^\s:\[\]]{1,48}+)(?:\[[^\]\s]{0,32}+\])?+:"
# As syslog(3) writes to /dev/log, without a host; or with one, and perhaps a tag.
_RFC_3164: Final = re.compile(rb"<\d{1,3}>" + _TIME + rb" (?:" + _TAG + rb"(?: |\Z)|" + _HOST + rb" (?:" + _TAG + rb")?)")

Sender = tuple[str | None, str | None]
"""Host and service as the message names them; None where it does not."""


def sender_of(message: bytes) -> Sender:
    """The sender by the message's head; what is after a time and looks like a tag is not a host."""
    head = message[:512]
    if head[2:7].find(b">1 ") >= 0 and (match := _RFC_5424.match(head)) is not None:
        return _named(match[1]), _named(match[2])
    if (match := _RFC_3164.match(head)) is not None:
        local, host, tag = match.groups()
        return (None, _named(local)) if local is not None else (_named(host), _named(tag))
    return None, None


def without_trailer(message: bytes) -> bytes:
    """A datagram's or a counted message without the NUL or the newline that some senders end it with."""
    return message[:-1] if message[-1:] in (b"\n", b"\0") else message


@functools.lru_cache(maxsize=512)  # the same few again and again
def _named(value: bytes | None) -> str | None:
    return None if value is None or value == b"-" else value.decode("ascii", "backslashreplace")

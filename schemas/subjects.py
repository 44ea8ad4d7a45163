"""Names of subjects with their contexts: `:.context:name`. Each context has subjects and ids of its own. Pure.

A name without a context is in the default one, `.`; `:.context:` names a whole context, for its configuration and mode.
Source: Confluent Schema Registry, schema contexts.
"""

import re
from typing import Final

DEFAULT_CONTEXT: Final = "."
GLOBAL_CONTEXT: Final = ".__GLOBAL"  # its configuration and mode are those of all contexts that have none
EVERY_CONTEXT: Final = ":*:"  # as the beginning of names that are listed
IN_CONTEXT: Final = "/contexts/{context}"  # before a path
MAX_LENGTH: Final = 1000
_QUALIFIED: Final = re.compile(r":(\.[^:]*)(?::(.*))?", re.DOTALL)
_CONTEXT: Final = re.compile(r"\.[A-Za-z0-9_.-]*")


class InvalidNameError(ValueError):
    """No legal name of a subject; the message says why."""


def split(subject: str) -> tuple[str, str]:
    """Context and name; the name is empty where a context itself is meant."""
    found = _QUALIFIED.fullmatch(subject)
    return (found[1], found[2] or "") if found else (DEFAULT_CONTEXT, subject)


def joined(context: str, name: str) -> str:
    """The one way in which a subject is written."""
    return name if context == DEFAULT_CONTEXT and name else f":{context}:{name}"


def within(subject: str, context: str) -> str:
    """What a name means that is written in `context`, as it is stored."""
    own, name = split(subject)
    return joined(own if subject.startswith(":.") else context, name)


def normalized(subject: str, context: str = DEFAULT_CONTEXT, *, may_be_context: bool = False) -> str:
    """A subject as it is stored; one without a context of its own is in `context`.

    Raises:
        InvalidNameError: it is empty, too long, not printable, or its context is not written as one.
    """
    own, name = split(subject)
    if own == DEFAULT_CONTEXT and not subject.startswith(":."):
        own = context
    if not _CONTEXT.fullmatch(own):
        raise InvalidNameError(f"Invalid context {own[:100]!r}; it is a dot, then letters, digits, `_`, `-` and dots")
    if not (name or may_be_context) or len(subject) > MAX_LENGTH or not subject.isprintable():
        raise InvalidNameError(f"Invalid subject; a subject has 1 to {MAX_LENGTH} printable characters")
    return joined(own, name)


def listed(subject: str, prefix: str) -> bool:
    """Whether a stored subject is among those that begin with `prefix`; one without a context lists the default one."""
    if prefix.startswith(EVERY_CONTEXT):
        return split(subject)[1].startswith(prefix.removeprefix(EVERY_CONTEXT))
    context, name = split(prefix)
    own, own_name = split(subject)
    return own == context and own_name.startswith(name)

"""Which source a pushed input's configuration asks for. Each is imported where it is wanted only: an agent stays small."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.agents.sources.children import Groups
from headrace.agents.sources.doors import Doors
from headrace.agents.sources.intake import Source
from headrace.clock import Clock

if TYPE_CHECKING:
    from headrace.agents.configuration import InputSection
    from headrace.agents.sources.http_keys import HttpInputKeys
    from headrace.agents.sources.journald_keys import JournaldKeys
    from headrace.agents.sources.keys import ExecKeys, StdinKeys, UnixKeys
    from headrace.agents.sources.syslog_keys import SyslogKeys

logger = logging.getLogger(__name__)


def source_of(
    name: str, section: "InputSection", clock: Clock, doors: Doors, groups: Groups, scratch: Path, *, once: bool
) -> Callable[[], Source] | None:
    """How an input's source is made; None in a finite run (`once`) for one that never ends by itself.

    `scratch` is a folder for what is not taken in yet.
    """
    if section.stdin is not None:
        return _stdin(section.stdin, clock)
    if section.exec is not None:
        return _exec(name, section.exec, clock, groups, once=once)
    if once:
        logger.warning("not taken in: a finite run cannot wait for its end", extra={"input": name})
        return None
    if section.unix is not None:
        return _unix(name, section.unix, clock, doors)
    if section.syslog is not None:
        return _syslog(name, section.syslog, clock, doors)
    if section.http is not None:
        return _http(name, section.http, clock, doors, scratch)
    if section.journald is not None:
        return _journald(section.journald, clock)
    return None


def _stdin(keys: "StdinKeys", clock: Clock) -> Callable[[], Source]:
    from headrace.agents.sources.stdin import StdinSource

    return lambda: StdinSource(0, max_line_bytes=keys.max_line_bytes, clock=clock)


def _exec(name: str, keys: "ExecKeys", clock: Clock, groups: Groups, *, once: bool) -> Callable[[], Source]:
    from headrace.agents.sources.exec import ExecSource

    return lambda: ExecSource(name, keys, clock, groups, once=once)


def _unix(name: str, keys: "UnixKeys", clock: Clock, doors: Doors) -> Callable[[], Source]:
    from headrace.agents.sources.unix import UnixSource

    return lambda: UnixSource(name, keys, clock, doors)


def _syslog(name: str, keys: "SyslogKeys", clock: Clock, doors: Doors) -> Callable[[], Source]:
    from headrace.agents.sources.syslog import SyslogSource

    return lambda: SyslogSource(name, keys, clock, doors)


def _http(name: str, keys: "HttpInputKeys", clock: Clock, doors: Doors, scratch: Path) -> Callable[[], Source]:
    from headrace.agents.sources.http import HttpSource

    return lambda: HttpSource(name, keys, clock, doors, scratch)


def _journald(keys: "JournaldKeys", clock: Clock) -> Callable[[], Source]:
    from headrace.agents.sources.journald import JournaldSource

    return lambda: JournaldSource(keys, clock)

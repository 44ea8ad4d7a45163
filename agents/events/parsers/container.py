"""Lines as container runtimes write them: CRI (containerd, CRI-O), and Docker's json-file as JSON.

`2016-10-06T00:17:09.669794202Z stdout F content`. Tag `P` is a piece of a line that the runtime cut, `F` its last
piece or a whole one.
Source: Kubernetes, pkg/kubelet/kuberuntime/logs/logs.go (parseCRILog).
"""

import re

from headrace.agents.events import timestamps
from headrace.agents.events.parsers.parser import Attempt, Parsed
from headrace.agents.events.times import Times

_CRI = re.compile(r"(\d{4}-\d\d-\d\dT[\d:.]{8,20}(?:Z|[+-]\d\d:\d\d)) (stdout|stderr) ([PF](?::\S*+)?+)(?: |\Z)")


def cri(times: Times, content: Attempt | None) -> Attempt:
    """Fields `stream`, `tag`, and `log` with the content; where `content` understands that, its fields in place of `log`."""

    def attempt(text: str, read_time_us: int) -> Parsed | None:
        match = _CRI.match(text)
        if match is None:
            return None
        event_time_us = timestamps.iso(match[1])
        inner = text[match.end() :]
        parsed = content(inner, read_time_us) if content is not None else None
        fields = {"log": inner} if parsed is None else parsed[1]
        if times.asked and parsed is not None and parsed[0] is not None:
            event_time_us = parsed[0]
        return event_time_us, fields | {"stream": match[2], "tag": match[3]}

    return attempt

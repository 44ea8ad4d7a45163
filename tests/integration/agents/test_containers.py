"""Logs of containers, with real processes: stdout and stderr side by side, rotated and killed meanwhile."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from headrace.agents.events.containers import stderr_stream_id
from tests.integration.agents.rig import Rig
from tests.integration.agents.test_agent_ships import until

ID = "0123456789abcdef" * 4


def inputs(parts: Rig, **more: Any) -> list[dict[str, Any]]:
    paths = [str(parts.logs / each) for each in ("pods/*/*/*.log", "pods/*/*/*.log.*", "docker/*/*-json.log*")]
    return [{"containers": {"paths": paths}, "topic": "logs", "multiline": {"traces": ["java"], "timeout_ms": 60_000}, **more}]


def pod_log(parts: Rig) -> Path:
    folder = parts.logs / "pods" / "shop_web-0_11-22" / "app"
    folder.mkdir(parents=True)
    return folder / "0.log"


def cri(stream: str, text: str, tag: str = "F") -> bytes:
    return f"2026-11-23T08:00:00.000000001Z {stream} {tag} {text}\n".encode()


def said(parts: Rig, stream: str) -> list[str]:
    return [event["fields"]["log"] for event in parts.distinct() if event["fields"].get("stream") == stream]


def written_side_by_side(count: int) -> tuple[bytes, list[str], list[str]]:
    """A log in which traces on stderr and lines in pieces on stdout lie between each other, and what was said on each."""
    pieces, out, err = [], [], []
    for n in range(count):
        frames = [f"E {n}: failed", f"\tat com.example.A.a(A.java:{n})", "Caused by: F: gone", "\t... 7 more"]
        err.append("\n".join(frames))
        out += [f"{n} in two pieces", f"{n} in one"]
        pieces += [
            cri("stderr", frames[0]), cri("stdout", f"{n} in two ", "P"), cri("stderr", frames[1][:12], "P"),
            cri("stdout", "pieces"), cri("stderr", frames[1][12:]), cri("stderr", frames[2]), cri("stdout", f"{n} in one"),
            cri("stderr", frames[3]),
        ]  # fmt: skip
    return b"".join(pieces), out, err


@pytest.mark.slow
def test_fault_14_kill_9_in_the_middle_of_two_streams_repeats_identically_and_loses_nothing(parts: Rig) -> None:
    data, out, err = written_side_by_side(4000)
    pod_log(parts).write_bytes(data)
    agent = parts.agent(inputs=inputs(parts))
    for delay_s in (0.45, 0.6, 0.8):
        agent.start()
        time.sleep(delay_s)
        agent.kill()
    parts.ship(inputs=inputs(parts))
    assert (said(parts, "stdout"), said(parts, "stderr")) == (out, err)
    events = parts.distinct()
    lines = [line for event in events for line in event["message"].encode(event["encoding"]).split(b"\n")]
    assert sorted(lines) == sorted(data.split(b"\n")[:-1])
    about = {"container": "app", "namespace": "shop", "pod": "web-0", "pod_uid": "11-22", "restart": "0"}
    assert all(event["service"] == "app" and about.items() <= event["fields"].items() for event in events)
    first = next(event["stream_id"] for event in events if event["fields"]["stream"] == "stdout")
    assert {event["stream_id"] for event in events} == {first, stderr_stream_id(first)}
    parts.check_audit()


def test_fault_14_pieces_and_traces_over_a_rotation_are_whole(parts: Rig) -> None:
    """As the kubelet rotates: it renames the log, and the runtime goes on in a new file when it is told to."""
    log = pod_log(parts)
    with log.open("ab", buffering=0) as file:
        file.write(cri("stderr", "E: failed") + cri("stdout", "two ", "P"))
        agent = parts.agent(inputs=inputs(parts)).start()
        until(lambda: bool(parts.audit()))
        log.rename(log.with_name("0.log.20261126-101112"))
        log.write_bytes(cri("stdout", "of the new file") + cri("stdout", "and on"))
        until(lambda: said(parts, "stdout") == ["of the new file"])
        file.write(cri("stderr", "\tat a.B.c(B.java:1)") + cri("stdout", "pieces"))
    assert agent.stop() == 0
    parts.ship(inputs=inputs(parts))
    assert sorted(said(parts, "stdout")) == ["and on", "of the new file", "two pieces"]
    assert said(parts, "stderr") == ["E: failed\n\tat a.B.c(B.java:1)"]
    assert {event["fields"]["restart"] for event in parts.distinct()} == {"0"}


def test_docker_s_logs_have_name_image_and_labels(parts: Rig) -> None:
    folder = parts.logs / "docker" / ID
    folder.mkdir(parents=True)
    config = {"Name": "/web", "Config": {"Image": "nginx:1", "Labels": {"tier": "front"}}}
    (folder / "config.v2.json").write_text(json.dumps(config))
    entries = [("stdout", "GET "), ("stderr", "warning\n"), ("stdout", "/ ü\n"), ("stdout", '{"level":"info"}\n')]
    lines = [
        json.dumps({"log": log, "stream": stream, "time": "2026-11-23T08:00:00.123456789Z"}, ensure_ascii=False)
        for stream, log in entries
    ]
    (folder / f"{ID}-json.log").write_text("\n".join(lines) + "\n")
    parts.ship(inputs=inputs(parts))
    events = sorted(parts.distinct(), key=lambda event: event["position"])
    assert [event["fields"]["log"] for event in events] == ["GET / ü", "warning", '{"level":"info"}']
    assert events[0]["message"] == f"{lines[0]}\n{lines[2]}"
    assert events[2]["fields"]["level"] == "info"
    assert {event["service"] for event in events} == {"web"}
    assert {event["event_time"].isoformat() for event in events} == {"2026-11-23T08:00:00.123456+00:00"}
    about = {"container_id": ID, "container": "web", "image": "nginx:1", "label.tier": "front"}
    assert all(about.items() <= event["fields"].items() for event in events)
    parts.check_audit()

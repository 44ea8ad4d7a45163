"""The agents that bench/agents.py measures: how each is got, configured and started.

Each reads one glob of files from their beginnings, writes a record a line to the topic TOPIC, one partition, with lz4 and
acks=all, and keeps its position on disk. Where an agent can be told not to give up, it is.

    rsyslog     Debian: rsyslog rsyslog-kafka, unpacked by tests/peers/install into .peers/rsyslog-kafka
    syslog-ng   Debian: syslog-ng-core syslog-ng-mod-rdkafka, unpacked by it into .peers/syslog-ng
    otelcol     the OpenTelemetry Collector, from the Go module proxy, by the line in bench/otelcol.yaml
                (five minutes of two cores, so tests/peers/install leaves it alone)
    Fluent Bit, Vector, Filebeat: no registry that we reach has their binaries.
"""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

TOPIC = "logs"
_PEERS = Path(__file__).resolve().parents[1] / ".peers"
_RSYSLOG, _SYSLOG_NG, _OTELCOL = _PEERS / "rsyslog-kafka", _PEERS / "syslog-ng", _PEERS / "otelcol" / "otelcol"
_LIBRARIES = "usr/lib/x86_64-linux-gnu"


@dataclass(frozen=True, slots=True)
class Place:
    """Where one run happens.

    `files` is the glob to read; `bootstrap` and `registry` say where the servers are; `json` says that lines are parsed.
    """

    folder: Path
    files: str
    bootstrap: str
    registry: str
    json: bool


@dataclass(frozen=True, slots=True)
class Started:
    """What to run: the command line, and variables beside the environment's."""

    command: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)


def _write(place: Place, name: str, text: str) -> Path:
    file = place.folder / name
    file.write_text(text)
    return file


def headrace(place: Place) -> Started:
    """Ours: the envelope, registered."""
    config = {
        "agent": {"state_dir": str(place.folder / "state"), "host": "bench"},
        "kafka": {"bootstrap.servers": place.bootstrap},
        "registry": place.registry,
        "inputs": [{"tail": [place.files], "topic": TOPIC, "parse": "json" if place.json else "plain"}],
    }
    file = _write(place, "agent.yaml", yaml.safe_dump(config))
    return Started([sys.executable, "-m", "headrace", "agent", "--config", str(file)])


def rsyslog(place: Place) -> Started:
    """imfile and omkafka; what librdkafka refuses or gives up is submitted again, and kept over a restart."""
    modules = _RSYSLOG / _LIBRARIES / "rsyslog"
    parse = 'action(type="mmjsonparse" cookie="")' if place.json else ""
    template = "%$!all-json-plain%" if place.json else "%msg%"
    text = f"""
        global(workDirectory="{place.folder}" maxMessageSize="64k")
        module(load="imfile")
        module(load="omkafka")
        module(load="mmjsonparse")
        template(name="line" type="string" string="{template}")
        input(type="imfile" file="{place.files}" tag="bench" ruleset="ship")
        ruleset(name="ship") {{
            {parse}
            action(type="omkafka" broker=["{place.bootstrap}"] topic="{TOPIC}" template="line" partitions.auto="on"
                confParam=["compression.codec=lz4", "request.required.acks=all", "linger.ms=20"]
                resubmitOnFailure="on" keepFailedMessages="on" failedMsgFile="{place.folder}/failed"
                action.resumeRetryCount="-1")
        }}
    """
    file = _write(place, "rsyslog.conf", text)
    command = [str(_RSYSLOG / "usr/sbin/rsyslogd"), "-n", "-f", str(file), "-i", str(place.folder / "pid"), "-M", str(modules)]
    return Started(command, {"LD_LIBRARY_PATH": f"{_RSYSLOG / _LIBRARIES}:{_RSYSLOG / 'lib/x86_64-linux-gnu'}"})


def syslog_ng(place: Place) -> Started:
    """file() or wildcard-file() and kafka-c(), with its flow control."""
    root, folder = _SYSLOG_NG, place.folder
    modules = root / "usr/lib/syslog-ng/3.38"
    base, pattern = os.path.split(place.files)
    parse = "parser { json-parser(); };" if place.json else ""
    message = "$(format-json --scope all-nv-pairs)" if place.json else "$MSG"
    text = f"""@version: 3.38
        options {{ stats-freq(0); log-msg-size(65536); }};
        source s {{ wildcard-file(base-dir("{base}") filename-pattern("{pattern}") flags(no-parse) read-old-records(yes)
            follow-freq(0.1) max-files(2000) log-iw-size(200000)); }};
        destination d {{ kafka-c(bootstrap-servers("{place.bootstrap}") topic("{TOPIC}") message("{message}")
            config(acks("all") compression.codec("lz4") linger.ms("20") message.timeout.ms("0")) log-fifo-size(250000)); }};
        log {{ source(s); {parse} destination(d); flags(flow-control); }};
    """
    file = _write(place, "syslog-ng.conf", text)
    command = [
        str(root / "usr/sbin/syslog-ng"), "-F", "--no-caps", "-f", str(file), "--module-path", str(modules),
        "-R", str(folder / "persist"), "-p", str(folder / "pid"), "-c", str(folder / "ctl"),
    ]  # fmt: skip
    libraries = [root / "lib/x86_64-linux-gnu", root / _LIBRARIES, root / "usr/lib/syslog-ng", modules]
    return Started(command, {"LD_LIBRARY_PATH": ":".join(map(str, libraries))})


def otelcol(place: Place) -> Started:
    """file_log with file_storage, and the kafka exporter with the raw encoding; it retries without end."""
    checkpoints = place.folder / "checkpoints"
    checkpoints.mkdir()
    receiver = {
        "include": [place.files],
        "start_at": "beginning",
        "storage": "file_storage",
        "include_file_name": False,
        "operators": [{"type": "json_parser"}] if place.json else [],
    }
    exporter = {
        "brokers": [place.bootstrap],
        "logs": {"topic": TOPIC, "encoding": "raw"},
        "producer": {"required_acks": -1, "compression": "lz4"},
        "retry_on_failure": {"enabled": True, "max_elapsed_time": 0},
        "sending_queue": {"sizer": "items", "queue_size": 50_000, "block_on_overflow": True},
    }
    config = {
        "extensions": {"file_storage": {"directory": str(checkpoints)}},
        "receivers": {"file_log": receiver},
        "exporters": {"kafka": exporter},
        "service": {
            "extensions": ["file_storage"],
            "telemetry": {"metrics": {"level": "none"}},
            "pipelines": {"logs": {"receivers": ["file_log"], "exporters": ["kafka"]}},
        },
    }
    file = _write(place, "otelcol.yaml", yaml.safe_dump(config))
    return Started([str(_OTELCOL), "--config", str(file)], {"GOMAXPROCS": "1"})


@dataclass(frozen=True, slots=True)
class Agent:
    """One of them: its name in tables, how it is started, what must be there for it."""

    name: str
    start: Callable[[Place], Started]
    needs: Path | None = None

    @property
    def is_there(self) -> bool:
        return self.needs is None or self.needs.exists()


AGENTS = {
    agent.name: agent
    for agent in (
        Agent("headrace", headrace),
        Agent("rsyslog", rsyslog, _RSYSLOG / "usr/sbin/rsyslogd"),
        Agent("syslog-ng", syslog_ng, _SYSLOG_NG / "usr/sbin/syslog-ng"),
        Agent("otelcol", otelcol, _OTELCOL),
    )
}

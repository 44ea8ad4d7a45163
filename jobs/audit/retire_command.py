"""`headrace audit retire AGENT`: an agent that is gone for good is not waited for any more (ADR 0055)."""

import argparse
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from headrace.errors import HeadraceError, PeerError, UsageError
from headrace.process import data_directory
from headrace.sinks.places import landed_root
from headrace.sinks.times import parse_time

_TIMEOUT_S: Final = 10.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of `headrace audit retire`."""
    parser.add_argument(
        "agent", metavar="AGENT", help="its id, the beginning of it, or its host's name: see headrace audit agents"
    )
    parser.add_argument("--at", metavar="T", help="windows that end after T need not wait for it (default: no window need)")
    parser.add_argument("--bootstrap", metavar="HOST:PORT", help="a broker (default: as the data directory's loader has it)")
    parser.add_argument("--config", type=Path, metavar="FILE", help="the loader's configuration: where broker and tables are")


def run(args: argparse.Namespace) -> int:
    """Write it to `_audit`, and say so; it counts once the loader has landed it."""
    now_ms = time.time_ns() // 1_000_000
    at = getattr(args, "at", None)
    at_ms = None if at is None else int(parse_time(at, "--at", now_ms))
    kafka, root = _places(args)
    from headrace.jobs.audit.auditor import Auditor
    from headrace.jobs.audit.known_agents import named

    agents = Auditor(root).agents
    agent_id = named(agents.values(), args.agent)
    heard_ms = agents[agent_id].heard_ms
    if heard_ms is not None and now_ms - heard_ms < _TIMEOUT_S * 1000:
        print(f"headrace audit: {agent_id} has just been heard of: it is retired until it speaks again", file=sys.stderr)
    write_retired(kafka, agent_id, at_ms)
    print(f"retired {agent_id}")
    return 0


def _places(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """librdkafka's settings, and the root of the landed tables."""
    from headrace.config import load_config
    from headrace.sinks.config import LoadConfig

    bootstrap, file = getattr(args, "bootstrap", None), getattr(args, "config", None)
    if file is not None and bootstrap is not None:
        raise UsageError("--config names the broker already; leave out --bootstrap")
    if file is None and bootstrap is not None:
        return {"bootstrap.servers": bootstrap}, landed_root(args)
    if file is None and args.root is None:
        file = data_directory(args.data) / "etc" / "load.yaml"
    if file is None or not file.exists():
        raise UsageError("where is the broker? name it with --bootstrap, or the loader's configuration with --config")
    config = load_config(LoadConfig, file, overrides=(), environment=os.environ)
    return dict(config.kafka), str(config.load.root)


def write_retired(kafka: Mapping[str, Any], agent_id: str, at_ms: int | None) -> None:
    """Write the message, over the Kafka protocol, to the agent's partition of `_audit`, where it follows all it has said.

    Raises:
        PeerError: there is no broker, or no `_audit`, or it may not be written to. ConfigError: librdkafka refuses a key.
    """
    from confluent_kafka import KafkaException, Producer

    from headrace.audit import AUDIT_TOPIC, RetiredMessage, audit_partition
    from headrace.librdkafka import checked_keys, reason, unrepeated

    failed: list[HeadraceError] = []

    def heard(error: Any, _: Any) -> None:
        if error is not None:
            failed.append(PeerError(f"_audit: {error.str()}"))

    with checked_keys():
        settings = {**kafka, "enable.idempotence": True, "message.timeout.ms": int(_TIMEOUT_S * 1000)}
        producer = Producer(settings, logger=unrepeated(__name__))
    message = RetiredMessage(agent_id, at_ms)
    try:
        found = producer.list_topics(AUDIT_TOPIC, timeout=_TIMEOUT_S).topics[AUDIT_TOPIC]
        if not found.partitions:
            raise PeerError(f"{kafka['bootstrap.servers']}: there is no topic _audit; is it the agents' broker?")
        partition = audit_partition(agent_id, len(found.partitions))
        producer.produce(AUDIT_TOPIC, message.encode(), message.key.encode(), partition, on_delivery=heard)
        if producer.flush(_TIMEOUT_S):
            raise PeerError(f"{kafka['bootstrap.servers']}: no answer within {_TIMEOUT_S:g} s")
    except KafkaException as error:
        servers = kafka["bootstrap.servers"]
        raise PeerError(
            f"{servers}: {reason(error)}; nothing was written: see that a broker runs there, and try again"
        ) from error
    if failed:
        raise failed[0]

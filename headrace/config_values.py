"""Values that the configurations of several parts hold: addresses, librdkafka's keys, a registry's URL.

Each is checked where the file is read, so that what cannot be used is refused with its line, before anything starts.
"""

import re
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, PlainSerializer, PlainValidator, WithJsonSchema

from headrace.addresses import Address
from headrace.config_faults import WrongKeys


def matching(pattern: str, told: str) -> AfterValidator:
    """A check that a whole text matches; `told` is what to say of one that does not: `what; what to do`."""
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if compiled.fullmatch(text) is None:
            raise ValueError(told)
        return text

    return AfterValidator(check)


def _names_servers(kafka: dict[str, Any]) -> dict[str, Any]:
    if nested := [f"{key}.{each}" for key, value in kafka.items() if isinstance(value, dict) for each in value]:
        raise WrongKeys({nested[0].rpartition(".")[0]: f"librdkafka's keys are written whole; write it as {nested[0]}: …"})
    if not kafka.get("bootstrap.servers"):
        raise WrongKeys({"bootstrap.servers": "it is missing; name brokers, as 127.0.0.1:9092"})
    return kafka


def _is_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("write it as http://host:port")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a URL is shown in messages; move name and password to basic.auth.user.info")
    return text


HostPort = Annotated[
    Address,
    PlainValidator(Address.parse),
    PlainSerializer(Address.__str__),
    WithJsonSchema({"type": "string", "format": "host:port"}),
]
"""An address, written `host:port`; an IPv6 host stands in brackets."""

KafkaKeys = Annotated[dict[str, Any], AfterValidator(_names_servers)]
"""librdkafka's keys, by its own names; `bootstrap.servers` is needed."""

RegistryUrl = Annotated[str, AfterValidator(_is_url)]
"""The URL of a Confluent-compatible schema registry."""

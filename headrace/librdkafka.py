"""What librdkafka says when it refuses: its configuration keys as a ConfigError, its errors as words."""

import contextlib
from collections.abc import Iterator

from confluent_kafka import KafkaError, KafkaException

from headrace.errors import ConfigError


@contextlib.contextmanager
def checked_keys() -> Iterator[None]:
    """Put around the making of a client.

    Raises:
        ConfigError: librdkafka does not know a key, or refuses its value.
    """
    try:
        yield
    except (KafkaException, TypeError, ValueError) as error:
        raise ConfigError(f"kafka: {reason(error)}; see librdkafka's CONFIGURATION.md") from error


def reason(error: Exception) -> str:
    """What librdkafka says of an error, in its words."""
    detail = error.args[0] if error.args else None
    return str(detail.str()) if isinstance(detail, KafkaError) else str(error) or type(error).__name__

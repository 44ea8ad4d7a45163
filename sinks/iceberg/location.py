"""Where a table's files are, as Iceberg and its readers write it: the one place that makes URLs of our paths."""

from typing import Final

from headrace.errors import UsageError
from headrace.sinks.stores.roots import Root
from headrace.sinks.table import names

METADATA: Final = f"{names.HIDDEN}/iceberg"
"""Where the Iceberg table itself is: apart from the data, so that no engine's removal of orphans finds our log and staging."""


def table_url(root: Root, topic: str) -> str:
    """The URL of a table's directory. Not percent-encoded: Iceberg's readers take what comes after the host as it stands.

    Raises:
        UsageError: a path that its readers would cut short.
    """
    location = root.location(topic, "").rstrip("/")
    if any(sign in location for sign in "?#%"):
        raise UsageError(f"{location}: readers of Iceberg tables take ?, # and % for parts of a URL; choose another directory")
    return location if "://" in location else f"file://{location}"

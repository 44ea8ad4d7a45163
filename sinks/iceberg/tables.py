"""The Iceberg tables of one root: their catalog, and each of them by its topic."""

from pathlib import Path

from pyiceberg.exceptions import NoSuchNamespaceError

from headrace.clock import Clock
from headrace.sinks.iceberg.catalog import open_catalog, peer_errors
from headrace.sinks.iceberg.config import Iceberg
from headrace.sinks.iceberg.location import table_url
from headrace.sinks.iceberg.projection import Projected
from headrace.sinks.iceberg.table import ProjectedTable, State
from headrace.sinks.stores.roots import open_root


class Projection:
    """The Iceberg tables of one root."""

    def __init__(self, config: Iceberg, root: Path | str, clock: Clock) -> None:
        """Open the catalog.

        Raises:
            PeerError: it cannot be reached.
        """
        self._config, self._root, self._clock = config, open_root(root), clock
        self._catalog = open_catalog(config, root)

    def tables(self) -> set[str]:
        """The names of the tables in the catalog's namespace, whoever made them.

        Raises:
            PeerError: the catalog refused.
        """
        with peer_errors(self._config.properties, f"iceberg namespace {self._config.namespace}"):
            try:
                return {identifier[-1] for identifier in self._catalog.list_tables(self._config.namespace)}
            except NoSuchNamespaceError:
                return set()

    def sync(self, topic: str) -> Projected:
        """Bring the Iceberg table of one landed table up to its log's head.

        Raises:
            PeerError: the catalog or a store refused; nothing of it is half there, and it can be tried again.
            StorageError, CorruptError, VersionError: our log cannot be read, or a file that it names.
            UsageError: there is a table of that name which is not ours.
        """
        table = self._table(topic)
        with peer_errors(self._config.properties, f"iceberg table {table.name}"):
            return table.sync()

    def state(self, topic: str) -> State:
        """Where a table stands. Raises as `sync`, and changes nothing."""
        table = self._table(topic)
        with peer_errors(self._config.properties, f"iceberg table {table.name}"):
            return table.state()

    def drop(self, topic: str) -> None:
        """Take the Iceberg table out of the catalog, its files left as they are; the next `sync` makes it anew.

        Raises:
            UsageError: it is not ours.
        """
        table = self._table(topic)
        with peer_errors(self._config.properties, f"iceberg table {table.name}"):
            table.drop()

    def _table(self, topic: str) -> ProjectedTable:
        identifier, store = (self._config.namespace, topic), self._root.table(topic)
        return ProjectedTable(self._catalog, identifier, store, table_url(self._root, topic), self._config.keep, self._clock)

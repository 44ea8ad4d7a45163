"""The catalog that the Iceberg tables are in: pyiceberg's, by its own properties; without any, SQLite beside the tables."""

import contextlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

from pyiceberg.catalog import Catalog, list_catalogs, load_catalog
from pyiceberg.exceptions import NamespaceAlreadyExistsError

from headrace.config_secrets import is_secret
from headrace.errors import HeadraceError, PeerError
from headrace.sinks.iceberg.config import Iceberg
from headrace.sinks.stores.roots import local_directory, scheme_of

DIRECTORY: Final = "_iceberg"
"""Below the root; no topic of ours has a table of this name, since names with a leading `_` are internal."""
_SECRET: Final = re.compile(r"token|credential|access-key|account-key|sas|connection-string|uri")
_USER_INFO: Final = re.compile(r"//[^/@\s]*@")


def open_catalog(config: Iceberg, root: Path | str) -> Catalog:
    """The catalog, with the namespace of the tables in it.

    Raises:
        PeerError: it cannot be reached, or its properties are wrong.
        UsageError: none is given, and there is no local disk for one beside the tables.
    """
    with peer_errors(config.properties, f"iceberg catalog {config.name}"):
        if config.properties or config.name in list_catalogs():
            catalog = load_catalog(config.name, **(_store_properties(str(root)) | dict(config.properties)))
        else:
            catalog = _beside(local_directory(root, "a catalog in SQLite (set load.iceberg.catalog)"), config.name)
        if not catalog.namespace_exists(config.namespace):
            with contextlib.suppress(NamespaceAlreadyExistsError):
                catalog.create_namespace(config.namespace)
        return catalog


def _store_properties(root: str) -> dict[str, str]:
    """What pyiceberg needs to know of the root's store: where it is, as the root's URL says. Credentials: the environment's."""
    asked = parse_qs(urlsplit(root).query) if scheme_of(root) == "s3" else {}
    return {f"s3.{key}": asked[key][-1] for key in ("endpoint", "region") if key in asked}


def _beside(root: Path, name: str) -> Catalog:
    directory = root / DIRECTORY
    directory.mkdir(parents=True, exist_ok=True)
    return load_catalog(name, type="sql", uri=f"sqlite:///{directory / 'catalog.db'}", warehouse=f"file://{directory}")


@contextlib.contextmanager
def peer_errors(properties: Mapping[str, str], where: str) -> Iterator[None]:
    """Errors of a catalog or of its store as ours, in one line, with nothing secret in it.

    Catalogs let through whatever their clients raise (SQLAlchemy's, requests', thrift's, boto's errors, and ValueErrors), and
    which of these libraries are there depends on the installation: so this catches every Exception.
    """
    try:
        yield
    except HeadraceError:
        raise
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise PeerError(f"{where}: {type(error).__name__}: {hidden(lines[0], properties)}") from error


def hidden(message: str, properties: Mapping[str, str]) -> str:
    """A message without the values of properties that nobody else may see."""
    for key, value in properties.items():
        if value and (is_secret(key) or _SECRET.search(key)):
            message = message.replace(value, "***")
    return _USER_INFO.sub("//***@", message)

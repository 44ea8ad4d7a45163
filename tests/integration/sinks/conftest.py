"""Real stores, each started once for all tests that ask for it, with a root of its own for every test."""

import itertools
import os
from collections.abc import Callable, Iterator
from typing import Final, NoReturn

import pytest

from tests import hdfs, iceberg_catalogs, object_stores

REMOTE: Final = ("hdfs-native", "libhdfs", *object_stores.SERVERS)
_number = itertools.count()


@pytest.fixture(scope="session")
def hdfs_cluster(tmp_path_factory: pytest.TempPathFactory, missing: Callable[[str, str], NoReturn]) -> Iterator[hdfs.Hdfs]:
    if not hdfs.is_installed():
        missing("hdfs", "run make peers")
    with hdfs.Hdfs(tmp_path_factory.mktemp("hdfs")) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def object_store(
    tmp_path_factory: pytest.TempPathFactory, missing: Callable[[str, str], NoReturn]
) -> Iterator[Callable[[str], object_stores.ObjectStoreServer]]:
    """A server by its kind."""
    started: dict[str, object_stores.ObjectStoreServer] = {}

    def serve(kind: str) -> object_stores.ObjectStoreServer:
        if kind not in started:
            server = object_stores.SERVERS[kind]
            if not server.is_installed():
                missing(kind, "run make peers")
            started[kind] = server(tmp_path_factory.mktemp(kind)).__enter__()
            os.environ.update(started[kind].environment)
        return started[kind]

    yield serve
    for server in started.values():
        server.kill()
        for name in server.environment:
            os.environ.pop(name, None)


@pytest.fixture
def new_root(request: pytest.FixtureRequest, missing: Callable[[str, str], NoReturn]) -> Callable[[str], str]:
    """The URL of an empty root on a store of some kind."""

    def make(kind: str) -> str:
        name = f"root-{next(_number)}"
        if kind in object_stores.SERVERS:
            url: str = request.getfixturevalue("object_store")(kind).url
            return url.replace("/tables", f"/{name}", 1)
        if kind == "libhdfs":
            if not hdfs.LIBHDFS.exists():
                missing("libhdfs", "run make peers")
            os.environ.update(hdfs.libhdfs_environment())
        url = f"{request.getfixturevalue('hdfs_cluster').url}/{name}"
        return f"{url}?client=libhdfs" if kind == "libhdfs" else url

    return make


@pytest.fixture(scope="session")
def iceberg_catalog(
    tmp_path_factory: pytest.TempPathFactory, missing: Callable[[str, str], NoReturn]
) -> Iterator[Callable[[str], dict[str, str]]]:
    """The properties of a catalog by its kind; none for `sqlite`, which is beside the tables."""
    started: dict[str, iceberg_catalogs.CatalogServer] = {}

    def serve(kind: str) -> dict[str, str]:
        if kind == "sqlite":
            return {}
        if kind not in started:
            server = iceberg_catalogs.SERVERS[kind]
            if not server.is_installed():
                missing(kind, "run make peers")
            started[kind] = server(tmp_path_factory.mktemp(kind)).__enter__()
        return started[kind].properties

    yield serve
    for server in started.values():
        server.kill()

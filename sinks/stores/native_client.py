"""hdfs-native as a client of HDFS: its protocols in Rust, without Java. Each NameNode is asked for a bounded time."""

from collections.abc import Iterator
from io import BufferedReader
from typing import Any, Final

from headrace.sinks.stores import hdfs_site
from headrace.sinks.stores.buffered import buffered
from headrace.sinks.stores.hdfs_client import Readable, Status
from headrace.sinks.stores.name_nodes import NameNode, NameNodes, Pulse, Threads

PIECE_BYTES: Final = 1 << 20


class NativeClient:
    """One HDFS."""

    def __init__(self, name_node: str) -> None:
        """`name_node`: its URL, or that of a name service; "" is the site's default file system."""
        import hdfs_native

        def node(address: hdfs_site.Address) -> NameNode:
            connect = lambda: hdfs_native.Client(name_node or None, address.settings)  # noqa: E731
            return NameNode(address.name, connect, patience_s, threads)

        site = hdfs_site.settings()
        patience_s, threads = hdfs_site.rpc_timeout_s(site), Threads()
        nodes = tuple(map(node, hdfs_site.name_nodes(name_node, site)))
        nodes[0].connect()
        self._name_nodes = NameNodes(nodes, patience_s, threads)

    def status(self, path: str) -> Status:
        return self._name_nodes.ask(lambda client, _: _status(client.get_file_info(path)))

    def list(self, directory: str, *, recursive: bool) -> Iterator[Status]:
        def listed(client: Any, pulse: Pulse) -> list[Status]:
            found: list[Status] = []
            for entry in client.list_status(directory, recursive):
                pulse.beat()
                found.append(_status(entry))
            return found

        return iter(self._name_nodes.ask(listed))

    def open(self, path: str) -> BufferedReader:
        return buffered(self._name_nodes.ask(lambda client, _: client.read(path)))

    def write(self, path: str, data: Readable) -> None:
        def carry(writer: Any, pulse: Pulse) -> None:
            while piece := pulse.step(lambda: data.read(PIECE_BYTES)):
                writer.write(piece)
            writer.close()

        self._name_nodes.write(lambda client, _: client.create(path), carry)

    def make_directory(self, path: str) -> None:
        self._name_nodes.ask(lambda client, _: client.mkdirs(path, create_parent=True))

    def rename(self, source: str, target: str) -> None:
        self._name_nodes.ask(lambda client, _: client.rename(source, target), changes=True)

    def delete(self, path: str) -> bool:
        return self._name_nodes.ask(lambda client, _: bool(client.delete(path)), changes=True)

    def rename_stamped(self, source: str, target: str, now_ms: int) -> None:
        self._name_nodes.ask(lambda client, _: client.set_times(source, now_ms, now_ms))
        self.rename(source, target)


def _status(found: Any) -> Status:
    return Status(found.path, found.length, found.modification_time, found.isdir)

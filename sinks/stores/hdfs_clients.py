"""The two clients of HDFS: hdfs-native (native_client.py), the default, and libhdfs by pyarrow, the site's own Hadoop.

Both read the site's core-site.xml and hdfs-site.xml (HADOOP_CONF_DIR, or HADOOP_HOME/etc/hadoop): name services and their
fail-over, Kerberos, wire encryption. docs/stores.md says what each can do.
"""

import ctypes
import errno
import os
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from headrace.errors import UsageError
from headrace.sinks.stores import hdfs_site
from headrace.sinks.stores.buffered import buffered
from headrace.sinks.stores.hdfs import HdfsRoot
from headrace.sinks.stores.hdfs_client import HdfsClient, Readable, Status, WatchedClient
from headrace.sinks.stores.hdfs_inodes import Inodes
from headrace.sinks.stores.native_client import NativeClient
from headrace.sinks.stores.watch import Watch

PIECE_BYTES: Final = 1 << 20
_LEAVE_SIGNALS: Final = "-Xrs"
"""Else the JVM answers SIGTERM itself, and ends this process in the midst of what it is to finish."""


def connect(url: str, spool: str | None, watch: Watch) -> HdfsRoot:
    """The root at `hdfs://NAMENODE[:PORT]/PATH[?client=libhdfs]`; `hdfs:///PATH` is on the site's default file system.

    Raises:
        UsageError: the client is not installed, or is no client that we know.
    """
    parts = urlsplit(url)
    asked = parse_qs(parts.query)
    if unknown := asked.keys() - {"client"}:
        raise UsageError(f"{url}: {unknown.pop()}= says nothing to HDFS; only client= does (native, libhdfs)")
    kind = asked.get("client", ["native"])[-1]
    if kind not in _CLIENTS:
        raise UsageError(f"{url}: client={kind} is not known; there are {', '.join(_CLIENTS)}")
    plain = f"hdfs://{parts.netloc}{parts.path}".rstrip("/")
    try:
        client = _CLIENTS[kind](f"hdfs://{parts.netloc}" if parts.netloc else "")
    except ImportError as error:
        raise UsageError(f"{url}: {error.name} is not installed; run: pip install 'headrace[hdfs]'") from error
    except (OSError, RuntimeError, ValueError) as error:
        raise UsageError(f"{url}: {str(error).strip().splitlines()[0]}; see docs/stores.md, HDFS") from error
    return HdfsRoot(plain + (f"?client={kind}" if kind != "native" else ""), WatchedClient(client, watch), parts.path, spool)


class LibhdfsClient:
    """libhdfs by pyarrow: Hadoop's own client in a JVM inside this process.

    Renames, times and deletes ask libhdfs itself: pyarrow's `move` deletes a file that is in the way (two processes that raced
    for one name both were told that they had it), it has no times, and its `delete_dir` takes what is in the directory along.
    """

    def __init__(self, name_node: str) -> None:
        from pyarrow import fs

        settings = hdfs_site.bounds(hdfs_site.settings())
        self._fs, self._kinds, self._selector = _libhdfs(name_node, settings), fs.FileType, fs.FileSelector
        self._direct = _Libhdfs(name_node or "default", settings)  # finds the JVM that pyarrow has loaded

    def inodes(self) -> Inodes:
        """Names of files that outlive their moves, for this thread."""
        return self._direct.inodes()

    def status(self, path: str) -> Status:
        if not self._direct.exists(path):  # to pyarrow every error is an absent file
            raise FileNotFoundError(path)
        (info,) = self._fs.get_file_info([path])
        if info.type == self._kinds.NotFound:
            raise OSError(f"{path}: HDFS has not said what it is")
        return self._status(info)

    def _status(self, info: Any) -> Status:
        changed_ms = info.mtime_ns // 1_000_000 if info.mtime_ns is not None else 0
        return Status(info.path, info.size or 0, changed_ms, info.type == self._kinds.Directory)

    def list(self, directory: str, *, recursive: bool) -> Iterator[Status]:
        return map(self._status, self._fs.get_file_info(self._selector(directory, recursive=recursive)))

    def open(self, path: str) -> BufferedReader:
        return buffered(self._fs.open_input_file(path))

    def write(self, path: str, data: Readable) -> None:
        if self._direct.exists(path):  # to open it for writing would empty it
            raise FileExistsError(path)
        with self._fs.open_output_stream(path) as stream:
            while piece := data.read(PIECE_BYTES):
                stream.write(piece)
            stream.flush()

    def make_directory(self, path: str) -> None:
        self._fs.create_dir(path, recursive=True)

    def rename(self, source: str, target: str) -> None:
        """Hadoop's old rename: it fails where a file is in the way, and moves *into* a directory that is."""
        if self._direct.exists(target):
            raise FileExistsError(target)
        self._direct.rename(source, target)

    def delete(self, path: str) -> bool:
        if not self._direct.exists(path):
            return False
        self._direct.delete(path)
        return True

    def rename_stamped(self, source: str, target: str, now_ms: int) -> None:
        self._direct.set_time(source, now_ms // 1000)
        self.rename(source, target)


class _Libhdfs:
    """The C functions that pyarrow has no equal of (hdfs.h of Hadoop). All raise OSError."""

    def __init__(self, name_node: str, settings: dict[str, str]) -> None:
        self._c = ctypes.CDLL(str(Path(os.environ.get("ARROW_LIBHDFS_DIR", "")) / "libhdfs.so"), use_errno=True)
        for function in ("hdfsNewBuilder", "hdfsBuilderConnect"):
            getattr(self._c, function).restype = ctypes.c_void_p
        builder = ctypes.c_void_p(self._c.hdfsNewBuilder())
        name = name_node.encode()  # libhdfs keeps the pointers until it has connected
        told = [(key.encode(), value.encode()) for key, value in settings.items()]
        self._c.hdfsBuilderSetNameNode(builder, name)
        for key, value in told:
            self._c.hdfsBuilderConfSetStr(builder, key, value)
        self._fs = ctypes.c_void_p(self._c.hdfsBuilderConnect(builder))
        if not self._fs:
            raise OSError(f"libhdfs cannot connect to {name_node}")

    def inodes(self) -> Inodes:
        return Inodes(self._c, self._fs)

    def exists(self, path: str) -> bool:
        """Whether there is such a file or directory."""
        if self._c.hdfsExists(self._fs, path.encode()) == 0:
            return True
        if ctypes.get_errno() != errno.ENOENT:
            raise self._failure(path)
        return False

    def rename(self, source: str, target: str) -> None:
        self._checked(self._c.hdfsRename(self._fs, source.encode(), target.encode()), f"rename to {target}")

    def delete(self, path: str) -> None:
        """A file, or a directory with nothing in it."""
        self._checked(self._c.hdfsDelete(self._fs, path.encode(), 0), f"delete {path}")

    def set_time(self, path: str, changed_s: int) -> None:
        now = ctypes.c_long(changed_s)
        self._checked(self._c.hdfsUtime(self._fs, path.encode(), now, now), f"set the time of {path}")

    def _checked(self, result: int, what: str) -> None:
        if result != 0:
            raise self._failure(what)

    @staticmethod
    def _failure(what: str) -> OSError:
        number = ctypes.get_errno()
        is_known = number in errno.errorcode
        return OSError(number, f"{what}: {os.strerror(number) if is_known else 'Hadoop has said why on the standard error'}")


def _libhdfs(name_node: str, settings: dict[str, str]) -> Any:
    from pyarrow import fs

    if "CLASSPATH" not in os.environ:
        raise RuntimeError("CLASSPATH is not set; libhdfs needs Hadoop's jars: CLASSPATH=$(hadoop classpath --glob)")
    options = os.environ.get("LIBHDFS_OPTS", "").split()
    if _LEAVE_SIGNALS not in options:
        os.environ["LIBHDFS_OPTS"] = " ".join([*options, _LEAVE_SIGNALS])
    where = urlsplit(name_node)
    host = f"hdfs://{where.netloc.rpartition(':')[0] or where.netloc}" if name_node else "default"
    return fs.HadoopFileSystem(host, where.port or 0, extra_conf=settings)


_CLIENTS: Final[dict[str, Callable[[str], HdfsClient]]] = {"native": NativeClient, "libhdfs": LibhdfsClient}

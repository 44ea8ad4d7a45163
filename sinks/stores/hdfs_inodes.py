"""The name of a file on HDFS that outlives every move: `/.reserved/.inodes/<id>`, by the id that the NameNode gave it.

HDFS opens it like any other, for whoever may read the file. No client that Python has tells the id, though libhdfs holds an
object that does: Java's FileSystem, which is asked here by JNI (Java Native Interface Specification, chapter 4: functions are
found by their index in a table, which never changes).
"""

import ctypes
from typing import Any, Final

NAME: Final = "/.reserved/.inodes"
_P: Final = ctypes.c_void_p
_ATTACH: Final = 4
_FIND_CLASS, _EXCEPTION, _CLEAR, _DELETE_LOCAL, _NEW_OBJECT, _INSTANCE_OF = 6, 15, 17, 23, 30, 32
_METHOD, _CALL_OBJECT, _CALL_LONG, _NEW_STRING = 33, 36, 54, 167
_STATUS: Final = "org/apache/hadoop/hdfs/protocol/HdfsFileStatus"


class Inodes:
    """Asks for ids on the thread that made it."""

    def __init__(self, libhdfs: ctypes.CDLL, file_system: ctypes.c_void_p) -> None:
        """`file_system`: libhdfs's handle, which is a reference to the Java object.

        Raises:
            OSError: there is no JVM, or not Hadoop's client in it.
        """
        vm, count = _P(), ctypes.c_int()
        libhdfs.JNI_GetCreatedJavaVMs(ctypes.byref(vm), 1, ctypes.byref(count))  # of libjvm, which libhdfs is linked with
        if not count.value:
            raise OSError("libhdfs has started no JVM")
        self._environment, self._file_system = _P(), file_system
        ctypes.CFUNCTYPE(ctypes.c_int, _P, _P, _P)(_table(vm)[_ATTACH])(vm, ctypes.byref(self._environment), None)
        self._path, system, self._status = map(
            self._class, ("org/apache/hadoop/fs/Path", "org/apache/hadoop/fs/FileSystem", _STATUS)
        )
        self._missing = self._class("java/io/FileNotFoundException")
        self._new_path = self._method(self._path, "<init>", "(Ljava/lang/String;)V")
        ask = "(Lorg/apache/hadoop/fs/Path;)Lorg/apache/hadoop/fs/FileStatus;"
        self._get_status = self._method(system, "getFileStatus", ask)
        self._get_id = self._method(self._status, "getFileId", "()J")
        any_status = self._class("org/apache/hadoop/fs/FileStatus")
        self._marks = [self._method(any_status, name, "()J") for name in ("getLen", "getModificationTime")]

    def name(self, path: str) -> str | None:
        """The lasting name of a file; None if it has none that leads to it.

        A router, or a view, asks one HDFS for all inodes, whichever has the file; another file of that id may be there.

        Raises:
            FileNotFoundError: there is no such file.
            OSError: HDFS does not say.
        """
        status = self._ask(path)
        if not self._call(_INSTANCE_OF, ctypes.c_ubyte, status, self._status):
            return None
        name, marks = f"{NAME}/{self._long(status, self._get_id)}", self._marks_of(status)
        try:
            return name if self._marks_of(self._ask(name)) == marks else None
        except FileNotFoundError:
            return None

    def _marks_of(self, status: ctypes.c_void_p) -> list[int]:
        """Length and time of change, by which a file is told from another; the status is given back."""
        marks = [self._long(status, method) for method in self._marks]
        self._call(_DELETE_LOCAL, None, status)
        return marks

    def _long(self, status: ctypes.c_void_p, method: ctypes.c_void_p) -> int:
        return int(self._call(_CALL_LONG, ctypes.c_int64, status, method, None))

    def _ask(self, path: str) -> ctypes.c_void_p:
        text = _P(self._call(_NEW_STRING, _P, path.encode()))
        where = _P(self._call(_NEW_OBJECT, _P, self._path, self._new_path, (_P * 1)(text)))
        status = _P(self._call(_CALL_OBJECT, _P, self._file_system, self._get_status, (_P * 1)(where)))
        error = _P(self._call(_EXCEPTION, _P))
        self._call(_CLEAR, None)
        is_missing = error and self._call(_INSTANCE_OF, ctypes.c_ubyte, error, self._missing)
        for reference in (text, where, error):
            self._call(_DELETE_LOCAL, None, reference)
        if error:
            raise FileNotFoundError(path) if is_missing else OSError(f"{path}: HDFS has not said what it is")
        return status

    def _class(self, name: str) -> ctypes.c_void_p:
        return self._found(self._call(_FIND_CLASS, _P, name.encode()), name)

    def _method(self, of: ctypes.c_void_p, name: str, signature: str) -> ctypes.c_void_p:
        return self._found(self._call(_METHOD, _P, of, name.encode(), signature.encode()), name)

    def _found(self, reference: int | None, name: str) -> ctypes.c_void_p:
        if not reference:
            self._call(_CLEAR, None)
            raise OSError(f"Hadoop's client in the JVM has no {name}")
        return _P(reference)

    def _call(self, index: int, result: Any, *arguments: Any) -> Any:
        kinds = [ctypes.c_char_p if isinstance(one, bytes) else _P for one in arguments]
        function = ctypes.CFUNCTYPE(result, _P, *kinds)(_table(self._environment)[index])
        return function(self._environment, *arguments)


def _table(of: ctypes.c_void_p) -> Any:
    return ctypes.cast(ctypes.cast(of, ctypes.POINTER(_P))[0], ctypes.POINTER(_P))

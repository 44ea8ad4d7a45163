"""A real HDFS on free loopback ports: NameNode and DataNodes as processes, from the jars that `make peers` fetches."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.kerberos import REALM, Kdc
from tests.processes import free_port

PEER = Path(__file__).parent.parent / ".peers" / "hadoop"
LIBHDFS = PEER / "libhdfs.so"
_JAVA = ("java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
NAME_NODE = "org.apache.hadoop.hdfs.server.namenode.NameNode"
_DATA_NODE = "org.apache.hadoop.hdfs.server.datanode.DataNode"
_LOG4J = """log4j.rootLogger=INFO,A
log4j.appender.A=org.apache.log4j.ConsoleAppender
log4j.appender.A.layout=org.apache.log4j.PatternLayout
log4j.appender.A.layout.ConversionPattern=%d %p %c{1}: %m%n
"""

_formatted: list[Path] = []


def is_installed() -> bool:
    return (PEER / "complete").exists()


class Hdfs:
    """One NameNode and some DataNodes; everything of them is below DIR. Stopped by process id.

    With one replica every file that is closed waits 0.5 s: the client asks before the DataNode has told the NameNode.
    """

    def __init__(self, directory: Path, *, data_nodes: int = 2, replication: int = 2, kdc: Kdc | None = None) -> None:
        """`kdc`: of a realm that all are to be of; then what goes over wires is encrypted, too."""
        self.directory = directory
        self._java_options = [f"-Djava.security.krb5.conf={kdc.client_file}"] if kdc else []
        self.port = free_port()
        self.url = f"hdfs://127.0.0.1:{self.port}"
        self.conf = directory / "conf"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._data_nodes = [f"data-{number}" for number in range(data_nodes)]
        for folder in ("webapps/hdfs", "webapps/datanode"):  # the servers look for them, and serve nothing
            (self.conf / folder).mkdir(parents=True)
        (self.conf / "log4j.properties").write_text(_LOG4J)
        core = {"fs.defaultFS": self.url, "ipc.client.connect.max.retries": "3"}
        self._site = {
            "dfs.namenode.name.dir": str(directory / "name"),
            "dfs.namenode.rpc-address": f"127.0.0.1:{self.port}",
            "dfs.namenode.http-address": "127.0.0.1:0",
            "dfs.datanode.address": "127.0.0.1:0",
            "dfs.datanode.http.address": "127.0.0.1:0",
            "dfs.datanode.ipc.address": "127.0.0.1:0",
            "dfs.replication": str(replication),
            "dfs.permissions.enabled": "false",
            "dfs.namenode.safemode.extension": "0",
            "dfs.heartbeat.interval": "1",
            "dfs.namenode.stale.datanode.interval": "3000",
            "dfs.namenode.avoid.write.stale.datanode": "true",
            "dfs.namenode.write.stale.datanode.ratio": "1.0",
            "dfs.namenode.heartbeat.recheck-interval": "1000",
            "dfs.client.block.write.replace-datanode-on-failure.policy": "NEVER",
        }
        if kdc:
            core |= {
                "hadoop.security.authentication": "kerberos",
                "hadoop.security.authorization": "true",
                "hadoop.rpc.protection": "privacy",
            }
            self._site |= _of_realm(kdc)
        write(self.conf / "core-site.xml", core)
        write(self.conf / "hdfs-site.xml", self._site)

    def start(self) -> "Hdfs":
        """Format the NameNode's directory, if it is new, and return when files can be written."""
        if not (self.directory / "name").exists():
            self.format(self.directory / "name")
        self.start_name_node(wait=False)
        for name in self._data_nodes:
            self.start_data_node(name)
        self.wait_until_ready()
        return self

    def format(self, name: Path) -> None:
        """Make a NameNode's directory; Hadoop is asked for one in a session, the others are copies of it."""
        if not _formatted:
            fresh, conf = self.directory / "formatted", self.directory / "conf-format"
            shutil.copytree(self.conf, conf)
            write(conf / "core-site.xml", {"fs.defaultFS": self.url})
            write(conf / "hdfs-site.xml", {"dfs.namenode.name.dir": str(fresh)})
            command = self._command(conf, NAME_NODE, "-format", "-nonInteractive")
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
            _formatted.append(fresh)
        shutil.copytree(_formatted[0], name)

    def start_name_node(self, *, wait: bool = True) -> None:
        self._start("name-node", self.conf, NAME_NODE)
        if wait:
            self.wait_until_ready()

    def start_data_node(self, name: str) -> None:
        conf = self.directory / f"conf-{name}"
        if not conf.exists():
            (conf / "webapps/datanode").mkdir(parents=True)
            write(conf / "hdfs-site.xml", {**self._site, "dfs.datanode.data.dir": str(self.directory / name)})
            for file in ("core-site.xml", "log4j.properties"):
                (conf / file).write_bytes((self.conf / file).read_bytes())
        self._start(name, conf, _DATA_NODE)

    def _command(self, conf: Path, *arguments: str) -> list[str]:
        logs = f"-Dhadoop.log.dir={self.directory}"
        return [*_JAVA, *self._java_options, logs, "-cp", f"{conf}:{PEER / 'libs'}/*", *arguments]

    def _start(self, name: str, conf: Path, main: str) -> None:
        with (self.directory / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(self._command(conf, main), stdout=log, stderr=log)

    def wait_until_ready(self, timeout_s: float = 60) -> None:
        """Until a file can be written: the NameNode has left its safe mode, and has a DataNode to write to."""
        import hdfs_native

        deadline = time.monotonic() + timeout_s
        while not self._can_be_written(hdfs_native):
            for name, process in self._processes.items():
                assert process.poll() is None, f"{name}: {(self.directory / f'{name}.log').read_text()[-3000:]}"
            assert time.monotonic() < deadline, f"HDFS is not ready after {timeout_s} s"
            time.sleep(0.1)

    def _can_be_written(self, hdfs_native: Any) -> bool:
        try:
            options = hdfs_native.WriteOptions(overwrite=True)
            with hdfs_native.Client(self.url).create(f"/.ready-{os.getpid()}", options) as file:
                file.write(b"x")
        except (OSError, RuntimeError):
            return False
        return True

    def hang(self, name: str) -> None:
        """SIGSTOP; its kernel goes on taking connections and requests. One that was active must not go on when another is."""
        self._processes[name].send_signal(signal.SIGSTOP)

    def kill(self, name: str) -> None:
        """kill -9 of `name-node` or `data-N`."""
        process = self._processes.pop(name)
        process.kill()
        process.wait()

    def stop(self) -> None:
        for process in self._processes.values():
            process.send_signal(signal.SIGKILL)  # nothing of it is needed afterwards
        for process in self._processes.values():
            process.wait(30)
        self._processes.clear()

    def __enter__(self) -> "Hdfs":
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *exc: object) -> None:
        self.stop()


def _of_realm(kdc: Kdc) -> dict[str, str]:
    servers = {"namenode": "nn", "datanode": "dn"}
    return {
        **{f"dfs.{server}.kerberos.principal": f"{name}/localhost@{REALM}" for server, name in servers.items()},
        **{f"dfs.{server}.keytab.file": str(kdc.keytab) for server in servers},
        "dfs.web.authentication.kerberos.principal": f"HTTP/localhost@{REALM}",
        "dfs.web.authentication.kerberos.keytab": str(kdc.keytab),
        "dfs.block.access.token.enable": "true",
        "dfs.data.transfer.protection": "privacy",
        "ignore.secure.ports.for.testing": "true",  # else its pages would have to be HTTPS
    }


def libhdfs_environment() -> dict[str, str]:
    """What pyarrow needs to find libhdfs, a JVM and Hadoop's client."""
    java = Path(os.path.realpath("/usr/bin/java")).parent.parent
    return {
        "JAVA_HOME": str(java),
        "ARROW_LIBHDFS_DIR": str(PEER),
        "CLASSPATH": ":".join(map(str, sorted((PEER / "libs").glob("*.jar")))),
        "LIBHDFS_OPTS": "-Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1",
    }


def write(path: Path, properties: dict[str, str]) -> None:
    """A file of Hadoop's configuration."""
    entries = "".join(f"<property><name>{key}</name><value>{value}</value></property>" for key, value in properties.items())
    path.write_text(f"<configuration>{entries}</configuration>")

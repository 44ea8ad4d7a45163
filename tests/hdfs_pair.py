"""A real HDFS with two NameNodes of one name service, `hdfs://cluster`; they share a directory of edits on the local disk."""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

from tests import hdfs
from tests.processes import free_port

NAME_SERVICE = "cluster"
_ADMIN = "org.apache.hadoop.hdfs.tools.DFSHAAdmin"


class HdfsPair(hdfs.Hdfs):
    """NameNodes `nn1`, active once started, and `nn2`; one DataNode.

    Clients need `environment`; they give up a NameNode that is away at once, one that hangs after `PATIENCE_MS`, and Hadoop's
    own client the pair after two rounds.
    """

    PATIENCE_MS = 3000

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True)
        super().__init__(directory, data_nodes=1, replication=1)
        self.url = f"hdfs://{NAME_SERVICE}"
        self.environment = {"HADOOP_CONF_DIR": str(self.conf)}
        self._ports: dict[str, int] = {}
        for key in ("dfs.namenode.rpc-address", "dfs.namenode.http-address", "dfs.namenode.name.dir"):
            del self._site[key]
        self._site |= {
            "dfs.nameservices": NAME_SERVICE,
            f"dfs.ha.namenodes.{NAME_SERVICE}": "nn1,nn2",
            f"dfs.client.failover.proxy.provider.{NAME_SERVICE}": (
                "org.apache.hadoop.hdfs.server.namenode.ha.ConfiguredFailoverProxyProvider"
            ),
            "dfs.client.failover.max.attempts": "2",
            "dfs.client.failover.sleep.base.millis": "50",
            "dfs.client.failover.sleep.max.millis": "200",
            "dfs.namenode.shared.edits.dir": f"file://{directory / 'shared'}",
            "dfs.ha.fencing.methods": "shell(/bin/true)",
            "dfs.ha.tail-edits.period": "1",
        }
        for name in ("nn1", "nn2"):
            self._ports[name] = free_port()
            self._site[f"dfs.namenode.rpc-address.{NAME_SERVICE}.{name}"] = f"127.0.0.1:{self._ports[name]}"
            self._site[f"dfs.namenode.http-address.{NAME_SERVICE}.{name}"] = f"127.0.0.1:{free_port()}"
        core = {
            "fs.defaultFS": self.url,
            "ipc.client.connect.max.retries": "0",
            "ipc.client.rpc-timeout.ms": str(self.PATIENCE_MS),
        }
        hdfs.write(self.conf / "core-site.xml", core)
        hdfs.write(self.conf / "hdfs-site.xml", self._site)

    def start(self) -> "HdfsPair":
        for name in ("nn1", "nn2"):
            shutil.copytree(self.conf, self._conf_of(name))
            own = {"dfs.ha.namenode.id": name, "dfs.namenode.name.dir": str(self.directory / name)}
            hdfs.write(self._conf_of(name) / "hdfs-site.xml", {**self._site, **own})
            self.format(self.directory / name)  # the second as by -bootstrapStandby
        shared = self.directory / "shared/current"
        shared.mkdir(parents=True)
        shutil.copy(self.directory / "nn1/current/VERSION", shared)
        for name in ("nn1", "nn2"):
            self.start_one(name)
        self.start_data_node("data-0")
        self.make_active("nn1")
        self.wait_until_ready()
        return self

    def start_one(self, name: str) -> None:
        """As the standby; see `make_active`."""
        self._start(name, self._conf_of(name), hdfs.NAME_NODE)

    def _conf_of(self, name: str) -> Path:
        return self.directory / f"conf-{name}"

    def make_active(self, name: str) -> None:
        """Whatever the other one is."""
        deadline = time.monotonic() + 60
        while not self._listens(name):
            assert self._processes[name].poll() is None, (self.directory / f"{name}.log").read_text()[-3000:]
            assert time.monotonic() < deadline, f"{name} does not listen after 60 s"
            time.sleep(0.1)
        self._run(self.conf, _ADMIN, "-transitionToActive", "--forceactive", name)

    def _listens(self, name: str) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self._ports[name]), 1).close()
        except OSError:
            return False
        return True

    def _run(self, conf: Path, *arguments: str) -> None:
        command = self._command(conf, *arguments)
        done = subprocess.run(command, input="Y\n", capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]

    def libhdfs_environment(self) -> dict[str, str]:
        """What a process needs to reach the pair by libhdfs."""
        environment = hdfs.libhdfs_environment()
        return {**environment, **self.environment, "CLASSPATH": os.pathsep.join((str(self.conf), environment["CLASSPATH"]))}

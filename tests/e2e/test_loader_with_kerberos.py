"""A loader on an HDFS that asks for Kerberos and encrypts what goes over its wires, by both clients."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from tests import forks, hdfs, kerberos
from tests.integration.sinks.pipeline import Pipeline

pytestmark = pytest.mark.slow

CLIENTS = ("native", "libhdfs")


@pytest.fixture
def secured(
    tmp_path: Path, missing: Callable[[str, str], NoReturn], monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[hdfs.Hdfs, kerberos.Kdc]]:
    if not (hdfs.is_installed() and hdfs.LIBHDFS.exists() and kerberos.is_installed()):
        missing("hdfs, libhdfs and krb5", "run make peers")
    services = ("nn/localhost", "dn/localhost", "HTTP/localhost")
    with kerberos.Kdc(tmp_path / "krb5", (*services, "loader")) as kdc:
        kdc.log_in("loader")
        for name, value in kdc.environment.items():
            monkeypatch.setenv(name, value)
        cluster = hdfs.Hdfs(tmp_path / "hdfs", data_nodes=1, replication=1, kdc=kdc)
        monkeypatch.setenv("HADOOP_CONF_DIR", str(cluster.conf))
        libhdfs = hdfs.libhdfs_environment()
        monkeypatch.setenv("CLASSPATH", f"{cluster.conf}:{libhdfs.pop('CLASSPATH')}")
        monkeypatch.setenv("LIBHDFS_OPTS", f"{libhdfs.pop('LIBHDFS_OPTS')} -Djava.security.krb5.conf={kdc.client_file}")
        for name, value in libhdfs.items():
            monkeypatch.setenv(name, value)
        with cluster:
            yield cluster, kdc


def check(url: str) -> subprocess.CompletedProcess[str]:
    command = [*forks.PREFIX, "check", "--deep", url]
    return forks.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_a_loader_lands_with_a_ticket_and_says_what_is_missing_without_one(
    secured: tuple[hdfs.Hdfs, kerberos.Kdc], tmp_path: Path
) -> None:
    cluster, kdc = secured
    roots = [f"{cluster.url}/{client}?client={client}" for client in CLIENTS]
    with Pipeline(tmp_path) as pipeline:
        pipeline.create_topic("orders")
        pipeline.produce("orders", (b"%d" % n for n in range(100)))
        for root in roots:
            pipeline.load_once(root=root)
            assert "1 records, 1 live files, 100 rows, ok" in check(root).stdout
    kdc.tickets.unlink()
    native, libhdfs = (check(root) for root in roots)
    assert (native.returncode, libhdfs.returncode) == (1, 1)
    assert "no Kerberos ticket; run kinit" in native.stderr
    assert "Hadoop has said why on the standard error" in libhdfs.stderr.splitlines()[-1]

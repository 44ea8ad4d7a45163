"""Object stores as processes on free loopback ports, each with one empty bucket `landed`; stopped by process id.

moto (PyPI) and versitygw (Go) speak S3, Azurite (npm) Azure, fake-gcs-server (Go) the JSON interface of Google Cloud Storage.
`make peers` fetches all but moto.
"""

import base64
import datetime
import hashlib
import hmac
import http.client
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.processes import free_port

PEERS: Final = Path(__file__).parent.parent / ".peers"
BUCKET: Final = "landed"
_AZURE_ACCOUNT: Final = "devstoreaccount1"
_AZURE_KEY: Final = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="  # published


class ObjectStoreServer:
    """One kind of server: `url` of a root in its bucket, and the `environment` that clients of it need."""

    kind = ""
    environment: Mapping[str, str] = {}

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory, self.port = directory, free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @classmethod
    def is_installed(cls) -> bool:
        raise NotImplementedError

    @property
    def url(self) -> str:
        raise NotImplementedError

    def command(self) -> list[str]:
        raise NotImplementedError

    def make_bucket(self) -> None:
        raise NotImplementedError

    def start(self, *, timeout_s: float = 30) -> "ObjectStoreServer":
        log = self.directory / "server.log"
        with log.open("ab") as file:
            environment = {**os.environ, **self.environment}
            self.process = subprocess.Popen(self.command(), stdout=file, stderr=file, env=environment, cwd=self.directory)
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                self.request("GET", "/")
                break
            except OSError:
                assert self.process.poll() is None, log.read_text(errors="replace")[-2000:]
                assert time.monotonic() < deadline, f"{self.kind} does not answer after {timeout_s} s"
                time.sleep(0.05)
        return self

    def request(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] = {}) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body, dict(headers))
            return connection.getresponse().status
        finally:
            connection.close()

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> "ObjectStoreServer":
        self.start()
        self.make_bucket()
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()


class Moto(ObjectStoreServer):
    kind = "moto"
    environment: Mapping[str, str] = {"AWS_ACCESS_KEY_ID": "test-key", "AWS_SECRET_ACCESS_KEY": "test-secret"}

    @classmethod
    def is_installed(cls) -> bool:
        return True

    @property
    def url(self) -> str:
        return f"s3://{BUCKET}/tables?endpoint=http://127.0.0.1:{self.port}&region=us-east-1"

    def command(self) -> list[str]:
        return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]

    def make_bucket(self) -> None:
        assert self.request("PUT", f"/{BUCKET}") == 200


class VersityGateway(ObjectStoreServer):
    """S3 over a local directory, which it keeps when it is killed."""

    kind = "versitygw"
    environment = Moto.environment

    @classmethod
    def is_installed(cls) -> bool:
        return (PEERS / "bin" / "versitygw").exists()

    @property
    def url(self) -> str:
        return f"s3://{BUCKET}/tables?endpoint=http://127.0.0.1:{self.port}&region=us-east-1"

    def command(self) -> list[str]:
        (self.directory / "data").mkdir(exist_ok=True)
        keys = ["--access", self.environment["AWS_ACCESS_KEY_ID"], "--secret", self.environment["AWS_SECRET_ACCESS_KEY"]]
        binary = str(PEERS / "bin" / "versitygw")
        return [binary, "--quiet", "--port", f"127.0.0.1:{self.port}", *keys, "posix", str(self.directory / "data")]

    def make_bucket(self) -> None:
        (self.directory / "data" / BUCKET).mkdir()


class Azurite(ObjectStoreServer):
    kind = "azurite"
    environment: Mapping[str, str] = {"AZURE_STORAGE_ACCOUNT_NAME": _AZURE_ACCOUNT, "AZURE_STORAGE_ACCOUNT_KEY": _AZURE_KEY}

    @classmethod
    def is_installed(cls) -> bool:
        return (PEERS / "node_modules" / ".bin" / "azurite-blob").exists()

    @property
    def url(self) -> str:
        endpoint = f"http://127.0.0.1:{self.port}/{_AZURE_ACCOUNT}"
        return f"abfss://{BUCKET}@{_AZURE_ACCOUNT}.dfs.core.windows.net/tables?endpoint={endpoint}"

    def command(self) -> list[str]:
        binary = str(PEERS / "node_modules" / ".bin" / "azurite-blob")
        options = ["--blobHost", "127.0.0.1", "--blobPort", str(self.port), "--location", str(self.directory), "--silent"]
        return [binary, *options, "--skipApiVersionCheck", "--disableTelemetry"]

    def make_bucket(self) -> None:
        """Create Container, signed with the shared key (Microsoft's REST reference, Authorize with Shared Key)."""
        date = datetime.datetime.now(datetime.UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
        resource = f"/{_AZURE_ACCOUNT}/{_AZURE_ACCOUNT}/{BUCKET}\nrestype:container"
        text = "PUT" + "\n" * 12 + f"x-ms-date:{date}\nx-ms-version:2021-08-06\n{resource}"
        signature = base64.b64encode(hmac.new(base64.b64decode(_AZURE_KEY), text.encode(), hashlib.sha256).digest()).decode()
        headers = {"x-ms-date": date, "x-ms-version": "2021-08-06", "Authorization": f"SharedKey {_AZURE_ACCOUNT}:{signature}"}
        assert self.request("PUT", f"/{_AZURE_ACCOUNT}/{BUCKET}?restype=container", b"", headers) == 201


class FakeGcs(ObjectStoreServer):
    """In memory: what it writes to a disk it writes in two steps, and can no longer list after it was killed between them."""

    kind = "fake-gcs-server"
    environment: Mapping[str, str] = {"STORAGE_EMULATOR_HOST": "http://127.0.0.1:1"}  # no credentials; roots name the server

    @classmethod
    def is_installed(cls) -> bool:
        return (PEERS / "bin" / "fake-gcs-server").exists()

    @property
    def url(self) -> str:
        return f"gs://{BUCKET}/tables?endpoint=http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        """The URL is where clients are told to go on with what they upload in parts; the folder has the first buckets."""
        url, buckets = f"http://127.0.0.1:{self.port}", self.directory / "buckets"
        (buckets / BUCKET).mkdir(parents=True, exist_ok=True)
        options = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(self.port), "-external-url", url]
        binary = str(PEERS / "bin" / "fake-gcs-server")
        return [binary, *options, "-log-level", "error", "-backend", "memory", "-data", str(buckets)]

    def make_bucket(self) -> None:
        """It is there, as the folder is."""


SERVERS: Final = {server.kind: server for server in (Moto, VersityGateway, Azurite, FakeGcs)}

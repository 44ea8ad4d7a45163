"""A real Kerberos realm on loopback: MIT's KDC from Debian's packages, unpacked by `make peers`."""

import os
import subprocess
import time
from pathlib import Path
from typing import Final

from tests.processes import free_port

PEER: Final = Path(__file__).parent.parent / ".peers" / "krb5"
LIBRARIES: Final = PEER / "usr" / "lib" / f"{os.uname().machine}-linux-gnu"
REALM: Final = "HEADRACE.TEST"
_CLIENT = """[libdefaults]
default_realm = {realm}
dns_lookup_kdc = false
dns_canonicalize_hostname = false
rdns = false
udp_preference_limit = 1
[realms]
{realm} = {{
  kdc = 127.0.0.1:{port}
}}
[domain_realm]
localhost = {realm}
"""
_SERVER = """[kdcdefaults]
kdc_listen = 127.0.0.1:{port}
kdc_tcp_listen = 127.0.0.1:{port}
[realms]
{realm} = {{
  database_name = {directory}/principal
  key_stash_file = {directory}/stash
}}
[dbmodules]
db_module_dir = {libraries}/krb5/plugins/kdb
"""


def is_installed() -> bool:
    return (PEER / "complete").exists()


class Kdc:
    """Principals without passwords: the keys of all are in `keytab`. Stopped by process id."""

    def __init__(self, directory: Path, principals: tuple[str, ...]) -> None:
        directory.mkdir(parents=True)
        self.keytab, self.tickets = directory / "all.keytab", directory / "tickets"
        self.client_file = directory / "krb5.conf"
        self._principals, self._log = principals, directory / "kdc.log"
        port, server_file = free_port(), directory / "kdc.conf"
        self.client_file.write_text(_CLIENT.format(realm=REALM, port=port))
        server_file.write_text(_SERVER.format(realm=REALM, port=port, directory=directory, libraries=LIBRARIES))
        self.environment = {"KRB5_CONFIG": str(self.client_file), "KRB5CCNAME": f"FILE:{self.tickets}"}
        self._own = {**self.environment, "KRB5_KDC_PROFILE": str(server_file), "LD_LIBRARY_PATH": str(LIBRARIES)}
        self._process: subprocess.Popen[bytes] | None = None

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(PEER / "usr" / program), *arguments]
        done = subprocess.run(command, env={**os.environ, **self._own}, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def __enter__(self) -> "Kdc":
        self._run("sbin/kdb5_util", "create", "-s", "-r", REALM, "-P", "of-the-database")
        for principal in self._principals:
            for query in (f"addprinc -randkey {principal}", f"ktadd -k {self.keytab} {principal}"):
                self._run("sbin/kadmin.local", "-r", REALM, "-q", query)
        command = [str(PEER / "usr" / "sbin" / "krb5kdc"), "-n", "-r", REALM]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, env={**os.environ, **self._own}, stdout=log, stderr=log)
        return self

    def __exit__(self, *exc: object) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def log_in(self, principal: str) -> None:
        """`kinit` by key: `environment` has a ticket from now on."""
        deadline = time.monotonic() + 30
        while True:
            try:
                return self._run("bin/kinit", "-k", "-t", str(self.keytab), "-c", str(self.tickets), principal)
            except AssertionError:  # it does not listen yet
                assert time.monotonic() < deadline, self._log.read_text()
                time.sleep(0.1)

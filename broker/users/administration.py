"""The two ways to administer users: over the protocol, and in the store of a broker that is stopped."""

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # they are there, and documented
    AclOperation,
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialDeletion,
    UserScramCredentialUpsertion,
)

from headrace.errors import HeadraceError, UsageError
from headrace.librdkafka import checked_keys, reason

_TIMEOUT_S = 15.0
_UNREACHABLE_S = 3.0  # how long addresses that refuse are tried; a name may have two, of which one serves
_KAFKAS = {"SCRAM-SHA-256": ScramMechanism.SCRAM_SHA_256, "SCRAM-SHA-512": ScramMechanism.SCRAM_SHA_512}
_OURS = {kafkas: ours for ours, kafkas in _KAFKAS.items()}
Found = Mapping[str, Mapping[str, int]]  # name → mechanism → iterations


class UserAdministration(AbstractContextManager["UserAdministration"], Protocol):
    """What `headrace users` does; errors are HeadraceError."""

    def list(self) -> Found:
        """Every user, by name."""
        ...

    def put(self, name: str, password: bytes, mechanisms: Sequence[str], iterations: int) -> None:
        """Give a user this password."""
        ...

    def delete(self, name: str, mechanisms: Sequence[str]) -> None:
        """Take these credentials from a user; with the last of them it is gone."""
        ...


class OverTheProtocol:
    """At a broker, ours or Apache Kafka."""

    def __init__(self, settings: Mapping[str, Any], where: str = "kafka") -> None:
        """`settings` are librdkafka's, and stand at `where`.

        Raises:
            ConfigError: librdkafka refuses them.
        """
        self._servers = settings.get("bootstrap.servers", "no address")
        self._errors: list[KafkaError] = []
        ours: dict[str, Any] = {"log_level": 0, "error_cb": self._errors.append}
        with checked_keys(where):
            self._admin = AdminClient(ours | dict(settings))

    def __enter__(self) -> "OverTheProtocol":
        return self

    def __exit__(self, *exc: object) -> None:
        """Nothing is held."""

    def list(self) -> Found:
        # librdkafka 2.x crashes on a refusal of what is asked next, so it is asked for the right first.
        cluster = self._result(self._admin.describe_cluster(include_authorized_operations=True, request_timeout=_TIMEOUT_S))
        if AclOperation.DESCRIBE not in (cluster.authorized_operations or ()):
            raise HeadraceError("the broker did not do it: you may not DESCRIBE the cluster (access rules)")
        told = self._result(self._admin.describe_user_scram_credentials(request_timeout=_TIMEOUT_S))
        found = {}
        for name in sorted(told):
            infos = told[name].scram_credential_infos
            found[name] = {_OURS[info.mechanism]: info.iterations for info in infos if info.mechanism in _OURS}
        return found

    def put(self, name: str, password: bytes, mechanisms: Sequence[str], iterations: int) -> None:
        for mechanism in mechanisms:  # Kafka refuses two changes of one user in one request
            info = ScramCredentialInfo(_KAFKAS[mechanism], iterations)
            self._alter(UserScramCredentialUpsertion(name, info, password))

    def delete(self, name: str, mechanisms: Sequence[str]) -> None:
        for mechanism in mechanisms:
            self._alter(UserScramCredentialDeletion(name, _KAFKAS[mechanism]))

    def _alter(self, change: Any) -> None:
        for future in self._admin.alter_user_scram_credentials([change], request_timeout=_TIMEOUT_S).values():
            self._result(future)

    def _result(self, future: Any) -> Any:
        try:
            self._wait(future)
            answer = future.result(1)
            self._errors.clear()  # one of a name's addresses, that the client tried first
            return answer
        except (KafkaException, TimeoutError) as error:
            self._admin.poll(0)
            if self._errors or isinstance(error, TimeoutError):
                told = self._errors[0].str() if self._errors else "no answer"
                said = f"no broker lets us in at {self._servers}: {told}"
                raise HeadraceError(f"{said}; name one with --bootstrap, or with --config how to log in") from error
            raise HeadraceError(f"the broker did not do it: {reason(error)}") from error

    def _wait(self, future: Any) -> None:
        """
        Raises:
            TimeoutError: there will be no answer: the login has failed, or no address can be reached.
        """
        begun = time.monotonic()
        while not future.done() and (waited_s := time.monotonic() - begun) < _TIMEOUT_S:
            self._admin.poll(0.02)
            codes = {error.code() for error in self._errors}
            if KafkaError._AUTHENTICATION in codes or (KafkaError._ALL_BROKERS_DOWN in codes and waited_s > _UNREACHABLE_S):
                raise TimeoutError


class InStore:
    """In a stopped broker's store, whose directory is held meanwhile."""

    def __init__(self, directories: Sequence[Path], store: Path | None, node_id: int) -> None:
        """
        Raises:
            UsageError: a broker runs on these directories, or they are another's.
        """
        from headrace.broker.coordination.sqlite import SqliteStore
        from headrace.broker.log.claims import claim_directories
        from headrace.broker.log.disk import RealDisk
        from headrace.broker.security.users import Users
        from headrace.broker.starting import store_path

        with ExitStack() as stack:
            paths = [str(directory.absolute().resolve()) for directory in directories]
            claims = claim_directories(RealDisk(), paths, node_id)
            stack.callback(claims.release)
            kept = SqliteStore(store_path(store, paths, claims))
            stack.callback(kept.close)
            self._users = Users(kept)
            self._stack = stack.pop_all()

    def __enter__(self) -> "InStore":
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def list(self) -> Found:
        users = self._users
        return {
            name: {mechanism: credential.iterations for mechanism, credential in sorted(users.credentials(name).items())}
            for name in users.names
        }

    def put(self, name: str, password: bytes, mechanisms: Sequence[str], iterations: int) -> None:
        from headrace.broker.security.users import put_user

        put_user(self._users, name, password, mechanisms, iterations)

    def delete(self, name: str, mechanisms: Sequence[str]) -> None:
        from headrace.broker.security.users import delete_user

        delete_user(self._users, name, mechanisms)


def of_stopped_broker(data: Path | None, config_file: Path | None, *, may_be_new: bool) -> InStore:
    """The users of a stopped broker, by its data directory or its configuration.

    Args:
        may_be_new: whether a broker that has never run is given its first users, where its configuration says that it will.
    Raises:
        UsageError: it runs, it has left nothing there, or the configuration is wrong.
    """
    from headrace.broker.config import BrokerConfig
    from headrace.config import load_config

    if config_file is None:
        assert data is not None
        _must_have_run([data / "broker"], None)
        return InStore([data / "broker"], None, BrokerConfig.model_validate({}).node_id)
    config = load_config(BrokerConfig, config_file, overrides=(), environment=os.environ)
    if not may_be_new:
        _must_have_run(config.log_directories(), config.coordination.path)
    return InStore(config.log_directories(), config.coordination.path, config.node_id)


def _must_have_run(directories: Sequence[Path], store: Path | None) -> None:
    """Nothing is made where no broker is: whoever mistypes a name would give a user to nobody."""
    from headrace.broker.log.checkpoint import META_PROPERTIES
    from headrace.broker.starting import STORE

    left = [directory / name for directory in directories for name in (META_PROPERTIES, STORE)]
    if not any(file.exists() for file in ([] if store is None else [store]) + left):
        where = ", ".join(map(str, directories))
        raise UsageError(f"{where}: no broker's data; before a first start, create users with --broker-config FILE")

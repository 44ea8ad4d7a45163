"""Who lacks a right is given the codes that Apache Kafka gives with its StandardAuthorizer, in every case of every API."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from uuid import UUID

import pytest
from kio.schema.errors import ErrorCode

from headrace.broker.keys.access import STANDARD_AUTHORIZER
from tests.apache_kafka import ApacheKafka, is_installed
from tests.integration.broker.requests import create_topic, metadata
from tests.integration.groups.wire_client import WireClient
from tests.integration.security.calls import Right
from tests.integration.security.cases import CASES, SECRET, Case, commit
from tests.integration.security.sasl_wire import log_in, port_of, put_user, secured
from tests.integration.security.test_every_api import codes, versions
from tests.processes import free_port

CLIENT = {"client_software_name": "wire", "client_software_version": "1"}
DESCRIBE_ACLS, CREATE_ACLS, DELETE_ACLS, COMMIT, FIND_COORDINATOR = 29, 30, 31, 8, 10


@dataclass(frozen=True)
class Side:
    """One broker: a connection of its administrator, and one of Eve."""

    admin: WireClient
    eve: WireClient
    topic_id: UUID

    def prepare(self) -> None:
        """A secret group, with a committed offset of the secret topic."""
        while self.admin.call(FIND_COORDINATOR, 4, {"key_type": 0, "coordinator_keys": [SECRET]}).coordinators[0].error_code:
            pass
        while True:
            answer = self.admin.call(COMMIT, 9, commit(self.topic_id))
            if not any(codes(answer)):
                return

    def allow(self, rights: list[Right]) -> None:
        """Eve has these rights and no others, here and now: Kafka answers before its broker goes by a new rule."""
        anything = {"resource_type_filter": 1, "resource_name_filter": None, "pattern_type_filter": 1, "host_filter": None}
        of_eve = {**anything, "principal_filter": "User:eve", "operation": 1, "permission_type": 1}
        self.admin.call(DELETE_ACLS, 3, {"filters": [of_eve]})
        rule = {"resource_pattern_type": 3, "principal": "User:eve", "host": "*", "permission_type": 3}
        creations = [
            {**rule, "resource_type": kind, "resource_name": name, "operation": operation} for operation, kind, name in rights
        ]
        assert not any(codes(self.admin.call(CREATE_ACLS, 3, {"creations": creations})))
        while sum(len(resource.acls) for resource in self.admin.call(DESCRIBE_ACLS, 3, of_eve).resources) != len(rights):
            pass

    def told(self, case: Case, version: int) -> list[ErrorCode]:
        return sorted(set(codes(self.eve.call(case.key, version, case.body(self.topic_id)))))


def _side(admin: WireClient, eve: WireClient) -> Side:
    assert not log_in(eve, "PLAIN", "eve", "eve's own").error_code
    create_topic(admin, SECRET)
    side = Side(admin, eve, metadata(admin, SECRET, create=False).topics[0].topic_id)
    side.prepare()
    return side


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory, missing: Callable[[str, str], NoReturn]) -> Iterator[tuple[Side, Side]]:
    """Ours, and Apache Kafka's."""
    if not is_installed():
        missing("kafka", "run make peers")
    directory: Path = tmp_path_factory.mktemp("sides")
    plain, auth, controller = free_port(), free_port(), free_port()
    module = "org.apache.kafka.common.security.plain.PlainLoginModule"
    settings = {
        "listeners": f"PLAINTEXT://127.0.0.1:{plain},AUTH://127.0.0.1:{auth},CONTROLLER://127.0.0.1:{controller}",
        "controller_quorum_voters": f"1@127.0.0.1:{controller}",
        "listener_security_protocol_map": "PLAINTEXT:PLAINTEXT,AUTH:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
        "listener_name_auth_sasl_enabled_mechanisms": "PLAIN",
        "listener_name_auth_plain_sasl_jaas_config": f'{module} required user_eve="eve\'s own";',
        "authorizer_class_name": STANDARD_AUTHORIZER,
        "super_users": "User:ANONYMOUS",
    }
    theirs = ApacheKafka(directory / "theirs", **settings)
    theirs.port = plain
    ours = secured(directory, {"authorizer.class.name": STANDARD_AUTHORIZER, "super.users": "User:ANONYMOUS"})
    with ours, theirs:
        put_user(ours, "eve", "eve's own")
        with (
            WireClient(port_of(ours, "PLAINTEXT")) as our_admin,
            WireClient(port_of(ours, "SASL_PLAINTEXT")) as our_eve,
            WireClient(plain) as their_admin,
            WireClient(auth) as their_eve,
        ):
            yield _side(our_admin, our_eve), _side(their_admin, their_eve)


ABSENT_THERE = {"metadata that makes a topic", "create a topic", "create a topic in the cluster"}


NEWER = {name for name, case in CASES.items() if case.key in (8, 9) and min(versions(case)) > 9}  # by topic ids: Kafka 4.2


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CASES if name not in NEWER])
def test_the_codes_of_a_refusal_are_those_of_apache_kafka(sides: tuple[Side, Side], name: str) -> None:
    case = CASES[name]
    served = {each.api_key: each.max_version for each in sides[1].eve.call(18, 3, CLIENT).api_keys}
    both = [version for version in versions(case) if version <= served[case.key]]
    lacking: list[list[Right]] = [[]]
    if len(case.needs) > 1 and name not in ABSENT_THERE:
        lacking += [[right for right, _ in case.needs if right != without] for without, _ in case.needs]
    for rights in lacking:
        answers: list[Any] = []
        for side in sides:
            side.allow(rights)
            answers.append(side.told(case, both[-1]))
        assert answers[0] == answers[1], rights

"""Every API that is served: who lacks a right is refused with Kafka's code and learns nothing; who has it, and no more, is
served; DENY outweighs everything. An API without an entry in `cases.py` fails here.
"""

import asyncio
import dataclasses
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from kio.schema.errors import ErrorCode

from headrace.broker.broker import Broker
from headrace.broker.groups.records import CommittedOffset
from headrace.broker.handlers.table import APIS
from headrace.broker.keys.access import STANDARD_AUTHORIZER
from headrace.broker.security.access import CLUSTER_NAME, Operation, ResourceType
from headrace.broker.security.acls import AclBinding, PatternType, Permission
from tests.integration.node import HandClock, Node
from tests.integration.security.calls import EVE, Right, decoded, raw, rule, with_rules
from tests.integration.security.cases import CASES, CLUSTER, GROUP, NO_RIGHT_NEEDED, SECRET, TOPIC, WHISPERED, Case

NOT_THE_ID = UUID(int=77)
REFUSALS = {
    ErrorCode.topic_authorization_failed,
    ErrorCode.group_authorization_failed,
    ErrorCode.cluster_authorization_failed,
    ErrorCode.transactional_id_authorization_failed,
}
each_case = pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
EVERYTHING = [
    AclBinding(
        kind, PatternType.LITERAL, CLUSTER_NAME if kind is CLUSTER else "*", str(EVE), "*", Operation.ALL, Permission.ALLOW
    )
    for kind in (TOPIC, GROUP, CLUSTER, ResourceType.TRANSACTIONAL_ID)
]


@asynccontextmanager
async def broker(directory: Path, *, topic: bool = True, group: bool = True) -> AsyncIterator[Broker]:
    """One with a secret topic and a secret group, or without."""
    os.makedirs(directory, exist_ok=True)
    with Node(directory, HandClock(), **{"authorizer.class.name": STANDARD_AUTHORIZER}).running() as (node, groups):
        await node.topics.ensure_offsets()
        if topic:
            await node.topics.create(SECRET, 1, {})
            log = node.logs.get(SECRET, 0)
            assert log is not None
            assert node.appends.append_own(log, WHISPERED).error == ErrorCode.none
        if group:
            await groups.commit(SECRET, [((SECRET, 0), CommittedOffset(1, -1, "", node.clock.wall_ms()))])
        yield node


def id_of(node: Broker) -> UUID:
    topic = node.topics.get(SECRET)
    return NOT_THE_ID if topic is None else topic.topic_id


def versions(case: Case) -> range:
    api = APIS[case.key]
    return case.versions or range(api.min_version, api.max_version + 1)


def codes(answer: Any) -> Iterator[ErrorCode]:
    """All error codes in an answer, however deep."""
    if isinstance(answer, tuple):
        for each in answer:
            yield from codes(each)
    elif dataclasses.is_dataclass(answer):
        for field in dataclasses.fields(answer):
            value = getattr(answer, field.name)
            if field.name == "error_code":
                yield ErrorCode(value)
            else:
                yield from codes(value)


def assert_refused(case: Case, version: int, answer: bytes, code: ErrorCode | None) -> None:
    if code is None:
        assert SECRET.encode() not in answer
    else:
        assert code in set(codes(decoded(case.key, version, answer)))
        assert b"whispered" not in answer


def assert_served(case: Case, version: int, answer: bytes) -> None:
    found = set(codes(decoded(case.key, version, answer)))
    assert not found & REFUSALS
    if version == versions(case)[-1]:
        assert not found or case.outcome in found
    if any(code is None for _, code in case.needs):
        assert SECRET.encode() in answer


def test_every_api_has_its_cases() -> None:
    assert {case.key for case in CASES.values()} | NO_RIGHT_NEEDED.keys() == APIS.keys()
    for key, api in APIS.items():
        served = set(range(api.min_version, api.max_version + 1))
        covered = {version for case in CASES.values() if case.key == key for version in versions(case)}
        assert key in NO_RIGHT_NEEDED or covered == served


@each_case
def test_without_any_right_the_answer_is_the_same_to_the_byte_whether_it_is_there_or_not(case: Case, tmp_path: Path) -> None:
    async def steps() -> None:
        denied: list[Right] = []
        nobody = with_rules([], denied)
        async with (
            broker(tmp_path / "full") as full,
            broker(tmp_path / "empty", topic=False, group=False) as empty,
        ):
            for version in versions(case):
                there = await raw(full, nobody, case.key, version, case.body(id_of(full)))
                assert_refused(case, version, there, case.needs[0][1])
                assert bool(denied) == (case.needs[0][1] is not None), "each refusal is noted, and nothing that is left out"
                denied.clear()
                if case.hides:
                    assert there == await raw(empty, nobody, case.key, version, case.body(NOT_THE_ID))
                    denied.clear()
            assert empty.topics.get(SECRET) is None, "it was made for who may not make it"

    asyncio.run(steps())


@each_case
def test_each_right_is_needed_and_without_it_nothing_is_learnt_of_what_it_protects(case: Case, tmp_path: Path) -> None:
    async def steps() -> None:
        for lacking, code in case.needs:
            rights = with_rules([rule(right) for right, _ in case.needs if right != lacking])
            absent = {"topic": lacking[1] is not TOPIC, "group": lacking[1] is not GROUP}
            async with (
                broker(tmp_path / f"full-{lacking[1].name}", topic=not case.absent) as full,
                broker(tmp_path / f"without-{lacking[1].name}", **absent) as without,
            ):
                for version in versions(case):
                    there = await raw(full, rights, case.key, version, case.body(id_of(full)))
                    assert_refused(case, version, there, code)
                    if case.hides and not case.absent:
                        assert there == await raw(without, rights, case.key, version, case.body(NOT_THE_ID))

    asyncio.run(steps())


@each_case
@pytest.mark.parametrize("how", ["literal", "prefixed", "wildcard"])
def test_with_exactly_the_rights_it_needs_it_works(case: Case, how: str, tmp_path: Path) -> None:
    def granted(right: tuple[Operation, ResourceType, str]) -> AclBinding:
        operation, kind, name = right
        if how == "prefixed" and kind is not CLUSTER:
            return rule((operation, kind, name[:4]), pattern=PatternType.PREFIXED)
        return rule((operation, kind, "*") if how == "wildcard" and kind is not CLUSTER else right)

    async def steps() -> None:
        denied: list[Right] = []
        rights = with_rules([granted(right) for right, _ in case.needs], denied)
        async with broker(tmp_path, topic=not case.absent) as node:
            topic_id = id_of(node)
            for version in reversed(versions(case)):
                assert_served(case, version, await raw(node, rights, case.key, version, case.body(topic_id)))
                topic_id = id_of(node)
        assert denied == []

    asyncio.run(steps())


@each_case
def test_a_denial_outweighs_every_allowance(case: Case, tmp_path: Path) -> None:
    async def steps() -> None:
        async with broker(tmp_path, topic=not case.absent) as node:
            for denied, code in case.needs:
                denials = [rule(right, permission=Permission.DENY) for right in (denied, *case.instead)]
                for version in versions(case):
                    answer = await raw(node, with_rules([*EVERYTHING, *denials]), case.key, version, case.body(id_of(node)))
                    assert_refused(case, version, answer, code)

    asyncio.run(steps())

"""A commit of many partitions is stored a part at a time, and never past the end of its member's generation."""

import asyncio
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from kio.index import load_request_schema

from headrace.broker.broker import Broker
from headrace.broker.groups.messages import JoinRequest, LeavingMember, SyncRequest
from headrace.broker.groups.service import GroupService
from headrace.broker.handlers.api import RequestContext
from headrace.broker.handlers.offsets import OFFSET_COMMIT
from headrace.broker.security.access import EverybodyMay
from headrace.broker.session import Session
from headrace.broker.wire import ErrorCode
from headrace.broker.wire.encode import entity_writer
from headrace.broker.wire.schema import request_codec
from tests.integration.node import HandClock, Node

VERSION, PARTITIONS = 9, 250
CONTEXT = RequestContext(VERSION, True, "c", Session("PLAINTEXT", ("h", 1), "h", EverybodyMay()), 0)


def committing(member_id: str, generation: int) -> Any:
    """The decoded request, of every partition at once."""
    partition = {"committed_offset": 7, "committed_leader_epoch": -1, "committed_metadata": ""}
    body = {
        "group_id": "g",
        "generation_id_or_member_epoch": generation,
        "member_id": member_id,
        "group_instance_id": None,
        "topics": [{"name": "many", "partitions": [{"partition_index": at, **partition} for at in range(PARTITIONS)]}],
    }
    data = bytearray(b"\0")  # no tagged fields in the header
    entity_writer(load_request_schema(OFFSET_COMMIT.key, VERSION))(data, body)
    return request_codec(OFFSET_COMMIT.key, VERSION, (OFFSET_COMMIT.min_version, OFFSET_COMMIT.max_version)).decode(
        bytes(data), 0
    )


async def member(groups: GroupService) -> tuple[str, int]:
    """The only member of a group that is stable: its id and generation."""
    joined = await groups.join(
        "g", JoinRequest(0, "", None, "c", "/h", 10_000, 30_000, "consumer", (("range", b""),), "", False, False)
    )
    await groups.sync("g", SyncRequest(0, joined.member_id, None, joined.generation, None, None, ((joined.member_id, b"all"),)))
    return joined.member_id, joined.generation


def errors(answer: Any) -> list[ErrorCode]:
    return [partition["error_code"] for partition in answer["topics"][0]["partitions"]]


async def the_rest(steps: Generator[None, None, Any]) -> Any:
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return await done.value if asyncio.iscoroutine(done.value) else done.value


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path, HandClock())


def test_every_partition_is_stored(node: Node) -> None:
    async def work(broker: Broker, groups: GroupService) -> None:
        await broker.topics.create("many", PARTITIONS, {})
        steps: Any = OFFSET_COMMIT.handle(broker, CONTEXT, committing("", -1))
        assert set(errors(await the_rest(steps))) == {ErrorCode.none}
        assert groups.all_committed("g") == [("many", at) for at in range(PARTITIONS)]

    with node.running() as (broker, groups):
        asyncio.run(work(broker, groups))


def test_what_is_not_stored_when_the_next_generation_begins_is_refused(node: Node) -> None:
    async def work(broker: Broker, groups: GroupService) -> None:
        await broker.topics.create("many", PARTITIONS, {})
        await broker.topics.ensure_offsets()
        old_id, generation = await member(groups)
        steps: Any = OFFSET_COMMIT.handle(broker, CONTEXT, committing(old_id, generation))  # takes the first step
        groups.leave("g", [LeavingMember(old_id, None)])
        await member(groups)
        told = errors(await the_rest(steps))
        stored = told.index(ErrorCode.unknown_member_id)
        assert 0 < stored < PARTITIONS
        assert set(told[:stored]) == {ErrorCode.none}
        assert set(told[stored:]) == {ErrorCode.unknown_member_id}
        assert groups.all_committed("g") == [("many", at) for at in range(stored)]

    with node.running() as (broker, groups):
        asyncio.run(work(broker, groups))

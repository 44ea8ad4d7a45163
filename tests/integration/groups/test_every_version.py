"""Every version of every group API, asked byte by byte and read back by kio's own decoder."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from kio.schema.errors import ErrorCode

from tests.integration.groups.wire_client import WireClient
from tests.processes import Part, broker

OK = ErrorCode.none
METADATA, CREATE_TOPICS, FIND_COORDINATOR = 3, 19, 10
JOIN, HEARTBEAT, LEAVE, SYNC = 11, 12, 13, 14
COMMIT, FETCH, OFFSET_DELETE = 8, 9, 47
DESCRIBE, LIST, DELETE = 15, 16, 42
TOPIC = "orders"
SUBSCRIPTION = bytes.fromhex("0001 00000001 0006") + TOPIC.encode() + bytes.fromhex("ffffffff 00000000")


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Part]:
    with broker(tmp_path_factory.mktemp("versions"), group_initial_rebalance_delay_ms=0, num_partitions=3) as running:
        yield running


@pytest.fixture(scope="module")
def topic_id(part: Part) -> UUID:
    with WireClient(part.ports["kafka"]) as client:
        body = {"topics": [{"name": TOPIC, "topic_id": None}], "allow_auto_topic_creation": True}
        body["include_topic_authorized_operations"] = False
        (topic,) = client.call(METADATA, 12, body).topics
    assert isinstance(topic.topic_id, UUID)
    return topic.topic_id


@pytest.fixture
def client(part: Part, topic_id: UUID) -> Iterator[WireClient]:
    with WireClient(part.ports["kafka"]) as connected:
        yield connected


def joining(group: str, member_id: str = "", instance: str | None = None, metadata: bytes = SUBSCRIPTION) -> dict[str, Any]:
    return {
        "group_id": group,
        "session_timeout": 10_000,
        "rebalance_timeout": 30_000,
        "member_id": member_id,
        "group_instance_id": instance,
        "protocol_type": "consumer",
        "protocols": [{"name": "range", "metadata": metadata}],
        "reason": "a test",
    }


def syncing(group: str, member_id: str, generation: int, assignments: dict[str, bytes]) -> dict[str, Any]:
    return {
        "group_id": group,
        "generation_id": generation,
        "member_id": member_id,
        "group_instance_id": None,
        "protocol_type": "consumer",
        "protocol_name": "range",
        "assignments": [{"member_id": each, "assignment": share} for each, share in assignments.items()],
    }


def heartbeat(client: WireClient, group: str, member_id: str, generation: int, version: int = 4) -> ErrorCode:
    body = {"group_id": group, "generation_id": generation, "member_id": member_id, "group_instance_id": None}
    return ErrorCode(client.call(HEARTBEAT, version, body).error_code)


def lone_member(client: WireClient, group: str, version: int = 3) -> str:
    """Join alone and sync; the member id, in generation 1."""
    joined = client.call(JOIN, version, joining(group))
    if joined.error_code is ErrorCode.member_id_required:
        joined = client.call(JOIN, version, joining(group, joined.member_id))
    assert (joined.error_code, joined.generation_id, joined.leader) == (OK, 1, joined.member_id)
    assert [(each.member_id, each.metadata) for each in joined.members] == [(joined.member_id, SUBSCRIPTION)]
    synced = client.call(SYNC, min(version, 5), syncing(group, joined.member_id, 1, {joined.member_id: b"all of it"}))
    assert (synced.error_code, synced.assignment) == (OK, b"all of it")
    return str(joined.member_id)


def committing(group: str, topic_id: UUID, offset: int, member_id: str = "", generation: int = -1) -> dict[str, Any]:
    partition = {"partition_index": 2, "committed_offset": offset, "committed_leader_epoch": 0}
    return {
        "group_id": group,
        "generation_id_or_member_epoch": generation,
        "member_id": member_id,
        "group_instance_id": None,
        "retention_time": -1,
        "topics": [{"name": TOPIC, "topic_id": topic_id, "partitions": [{**partition, "committed_metadata": "note"}]}],
    }


def fetching(group: str, topic_id: UUID, *, everything: bool = False) -> dict[str, Any]:
    topics = None if everything else [{"name": TOPIC, "topic_id": topic_id, "partition_indexes": [2, 1]}]
    one = {"group_id": group, "member_id": None, "member_epoch": -1, "topics": topics}
    return {**one, "groups": [one], "require_stable": True}


@pytest.mark.parametrize("version", range(7))
def test_find_coordinator(client: WireClient, part: Part, version: int) -> None:
    answer = client.call(FIND_COORDINATOR, version, {"key": "g", "key_type": 0, "coordinator_keys": ["g"]})
    found = answer.coordinators[0] if version >= 4 else answer
    assert (found.error_code, found.host, found.port) == (OK, "127.0.0.1", part.ports["kafka"])


@pytest.mark.parametrize(
    ("key_type", "error"), [(1, ErrorCode.transactional_id_authorization_failed), (2, ErrorCode.invalid_request)]
)
def test_coordinators_of_other_kinds_are_refused_for_good(client: WireClient, key_type: int, error: ErrorCode) -> None:
    for version in range(1, 7):
        answer = client.call(FIND_COORDINATOR, version, {"key": "k", "key_type": key_type, "coordinator_keys": ["k"]})
        found = answer.coordinators[0] if version >= 4 else answer
        assert (found.error_code, int(found.node_id)) == (error, -1)


@pytest.mark.parametrize("version", range(10))
def test_join_and_sync(client: WireClient, version: int) -> None:
    member_id = lone_member(client, f"join-{version}", version)
    assert heartbeat(client, f"join-{version}", member_id, 1) is OK


@pytest.mark.parametrize("version", range(5))
def test_heartbeat(client: WireClient, version: int) -> None:
    member_id = lone_member(client, f"heartbeat-{version}")
    assert heartbeat(client, f"heartbeat-{version}", member_id, 1, version) is OK
    assert heartbeat(client, f"heartbeat-{version}", member_id, 7, version) is ErrorCode.illegal_generation
    assert heartbeat(client, f"heartbeat-{version}", "stranger", 1, version) is ErrorCode.unknown_member_id
    assert heartbeat(client, "no-such-group", member_id, 1, version) is ErrorCode.unknown_member_id


@pytest.mark.parametrize("version", range(6))
def test_leave(client: WireClient, version: int) -> None:
    group = f"leave-{version}"
    member_id = lone_member(client, group)

    def leave() -> ErrorCode:
        identity = {"member_id": member_id, "group_instance_id": None, "reason": "enough"}
        answer = client.call(LEAVE, version, {"group_id": group, "member_id": member_id, "members": [identity]})
        assert answer.error_code is OK or version < 3
        return ErrorCode(answer.members[0].error_code if version >= 3 else answer.error_code)

    assert leave() is OK
    assert leave() is ErrorCode.unknown_member_id


@pytest.mark.parametrize("version", range(2, 11))
def test_commit_is_fetched_in_every_version(client: WireClient, topic_id: UUID, version: int) -> None:
    group = f"commit-{version}"
    (topic,) = client.call(COMMIT, version, committing(group, topic_id, 40 + version)).topics
    assert [(each.partition_index, each.error_code) for each in topic.partitions] == [(2, OK)]
    for fetch_version in range(1, 11):
        answer = client.call(FETCH, fetch_version, fetching(group, topic_id))
        (fetched,) = (answer.groups[0] if fetch_version >= 8 else answer).topics
        assert (fetched.topic_id if fetch_version >= 10 else fetched.name) == (topic_id if fetch_version >= 10 else TOPIC)
        there, absent = fetched.partitions
        assert (there.committed_offset, there.metadata, there.error_code) == (40 + version, "note", OK)
        assert (absent.committed_offset, absent.metadata, absent.error_code) == (-1, "", OK)
        if fetch_version >= 5:
            assert there.committed_leader_epoch == (0 if version >= 6 else -1)


@pytest.mark.parametrize("version", range(2, 11))
def test_fetch_of_all_topics_and_of_an_unknown_group(client: WireClient, topic_id: UUID, version: int) -> None:
    client.call(COMMIT, 9, committing("all", topic_id, 7))
    answer = client.call(FETCH, version, fetching("all", topic_id, everything=True))
    (topic,) = (answer.groups[0] if version >= 8 else answer).topics
    assert [(each.partition_index, each.committed_offset) for each in topic.partitions] == [(2, 7)]
    unknown = client.call(FETCH, version, fetching("nobody", topic_id, everything=True))
    unknown = unknown.groups[0] if version >= 8 else unknown
    assert (unknown.error_code, unknown.topics) == (OK, ())


def test_a_topic_id_that_nobody_has_is_told_so(client: WireClient) -> None:
    unknown = UUID(int=77)
    (topic,) = client.call(COMMIT, 10, committing("ids", unknown, 7)).topics
    assert topic.partitions[0].error_code is ErrorCode.unknown_topic_id
    (topic,) = client.call(FETCH, 10, fetching("ids", unknown)).groups[0].topics
    assert topic.partitions[0].error_code is ErrorCode.unknown_topic_id


@pytest.mark.parametrize("version", range(2, 10))
def test_commits_of_members_are_fenced(client: WireClient, topic_id: UUID, version: int) -> None:
    group = f"fenced-{version}"
    member_id = lone_member(client, group)
    cases = [
        (member_id, 1, OK),
        (member_id, 2, ErrorCode.illegal_generation),
        ("stranger", 1, ErrorCode.unknown_member_id),
        ("", -1, ErrorCode.unknown_member_id),
    ]
    for who, generation, error in cases:
        (topic,) = client.call(COMMIT, version, committing(group, topic_id, 3, who, generation)).topics
        assert topic.partitions[0].error_code is error
    (topic,) = client.call(COMMIT, version, committing("absent", topic_id, 3, "someone", 4)).topics
    assert topic.partitions[0].error_code is ErrorCode.illegal_generation


def test_metadata_that_is_too_long_and_partitions_that_do_not_exist(client: WireClient, topic_id: UUID) -> None:
    body = committing("limits", topic_id, 3)
    fine = body["topics"][0]["partitions"][0]
    body["topics"][0]["partitions"] = [
        fine,
        {**fine, "partition_index": 1, "committed_metadata": "x" * 4097},
        {**fine, "partition_index": 3},
    ]
    (topic,) = client.call(COMMIT, 9, body).topics
    wrong = [ErrorCode.offset_metadata_too_large, ErrorCode.unknown_topic_or_partition]
    assert [each.error_code for each in topic.partitions] == [OK, *wrong]


@pytest.mark.parametrize("version", range(7))
def test_describe(client: WireClient, version: int) -> None:
    group = f"describe-{version}"
    member_id = lone_member(client, group)
    body = {"groups": [group, "nobody"], "include_authorized_operations": False}
    described, unknown = client.call(DESCRIBE, version, body).groups
    assert (described.group_state, described.protocol_type, described.protocol_data) == ("Stable", "consumer", "range")
    (member,) = described.members
    assert (member.member_id, member.client_id, member.member_assignment) == (member_id, "wire", b"all of it")
    assert member.client_host == "/127.0.0.1"
    assert unknown.group_state == "Dead"
    assert unknown.error_code is (ErrorCode.group_id_not_found if version >= 6 else OK)


def test_describe_tells_what_one_may_do_only_if_asked(client: WireClient) -> None:
    for asks, operations in ((True, {3, 6, 8, 10, 11}), (False, {31})):  # by number of AclOperation; INT32_MIN says: not asked
        body = {"groups": ["nobody"], "include_authorized_operations": asks}
        (described,) = client.call(DESCRIBE, 5, body).groups
        assert {bit for bit in range(32) if described.authorized_operations >> bit & 1} == operations


@pytest.mark.parametrize("version", range(6))
def test_list(client: WireClient, version: int) -> None:
    group = f"list-{version}"
    lone_member(client, group)

    def listed(states: list[str], types: list[str]) -> dict[str, Any]:
        answer = client.call(LIST, version, {"states_filter": states, "types_filter": types})
        return {each.group_id: each for each in answer.groups}

    assert listed([], [])[group].protocol_type == "consumer"
    if version >= 4:
        assert listed(["stable"], [])[group].group_state == "Stable"
        assert group not in listed(["Empty"], [])
    if version >= 5:
        assert listed([], ["Classic"])[group].group_type == "classic"
        assert listed([], ["consumer"]) == {}


@pytest.mark.parametrize("version", range(3))
def test_delete(client: WireClient, topic_id: UUID, version: int) -> None:
    lone_member(client, f"busy-{version}")
    client.call(COMMIT, 9, committing(f"idle-{version}", topic_id, 3))
    names = [f"busy-{version}", f"idle-{version}", "nobody", "nobody"]  # who is named twice is answered once
    results = client.call(DELETE, version, {"groups_names": names}).results
    assert [each.error_code for each in results] == [ErrorCode.non_empty_group, OK, ErrorCode.group_id_not_found]
    assert client.call(FETCH, 9, fetching(f"idle-{version}", topic_id, everything=True)).groups[0].topics == ()


def test_offsets_are_deleted_but_those_of_topics_that_members_read(client: WireClient, topic_id: UUID) -> None:
    member_id = lone_member(client, "offset-delete")
    client.call(COMMIT, 9, committing("offset-delete", topic_id, 3, member_id, 1))
    body = {"group_id": "offset-delete", "topics": [{"name": TOPIC, "partitions": [{"partition_index": 2}]}]}
    (topic,) = client.call(OFFSET_DELETE, 0, body).topics
    assert topic.partitions[0].error_code is ErrorCode.group_subscribed_to_topic
    identity = {"member_id": member_id, "group_instance_id": None, "reason": None}
    client.call(LEAVE, 5, {"group_id": "offset-delete", "members": [identity]})
    (topic,) = client.call(OFFSET_DELETE, 0, body).topics
    assert topic.partitions[0].error_code is OK
    assert client.call(FETCH, 9, fetching("offset-delete", topic_id, everything=True)).groups[0].topics == ()
    assert client.call(OFFSET_DELETE, 0, {**body, "group_id": "nobody"}).error_code is ErrorCode.group_id_not_found
    assert client.call(OFFSET_DELETE, 0, {**body, "group_id": ""}).error_code is ErrorCode.invalid_group_id
    unknown = {"group_id": "offset-delete", "topics": [{"name": TOPIC, "partitions": [{"partition_index": 77}]}]}
    (topic,) = client.call(OFFSET_DELETE, 0, unknown).topics
    assert topic.partitions[0].error_code is ErrorCode.unknown_topic_or_partition


@pytest.mark.parametrize("session_timeout_ms", [5_999, 1_800_001])
def test_sessions_have_bounds(client: WireClient, session_timeout_ms: int) -> None:
    answer = client.call(JOIN, 7, {**joining("bounds"), "session_timeout": session_timeout_ms})
    assert answer.error_code is ErrorCode.invalid_session_timeout


def test_a_group_needs_a_name(client: WireClient, topic_id: UUID) -> None:
    invalid = ErrorCode.invalid_group_id
    assert client.call(JOIN, 7, joining("")).error_code is invalid
    assert client.call(SYNC, 5, syncing("", "m", 1, {})).error_code is invalid
    assert heartbeat(client, "", "m", 1) is invalid
    assert client.call(LEAVE, 5, {"group_id": "", "members": []}).error_code is invalid


def test_offsets_can_be_kept_under_the_empty_group_id_as_old_clients_do(client: WireClient, topic_id: UUID) -> None:
    (topic,) = client.call(COMMIT, 9, committing("", topic_id, 3)).topics
    assert topic.partitions[0].error_code is OK
    (group,) = client.call(FETCH, 9, fetching("", topic_id)).groups
    assert group.topics[0].partitions[0].committed_offset == 3
    assert heartbeat(client, "", "m", 1) is ErrorCode.invalid_group_id  # it has no members for that


def test_a_member_heartbeats_while_its_join_waits_on_another_connection(client: WireClient, part: Part) -> None:
    first = lone_member(client, "two")
    with WireClient(part.ports["kafka"]) as other:
        other.send(JOIN, 3, joining("two"))
        while heartbeat(client, "two", first, 1) is OK:
            pass
        assert heartbeat(client, "two", first, 1) is ErrorCode.rebalance_in_progress
        leader = client.call(JOIN, 3, joining("two", first))
        follower = other.receive()
        assert leader.generation_id == follower.generation_id == 2
        assert leader.leader == follower.leader == first
        other.send(SYNC, 3, syncing("two", follower.member_id, 2, {}))
        shares = {first: b"left", follower.member_id: b"right"}
        assert client.call(SYNC, 3, syncing("two", first, 2, shares)).assignment == b"left"
        assert other.receive().assignment == b"right"


@pytest.mark.slow
def test_a_member_that_disconnects_while_it_first_joins_is_forgotten_at_once(client: WireClient, part: Part) -> None:
    first = lone_member(client, "gone")
    with WireClient(part.ports["kafka"]) as other:
        other.send(JOIN, 3, joining("gone"))
        while heartbeat(client, "gone", first, 1) is OK:
            pass
    alone = client.call(JOIN, 3, joining("gone", first))
    while len(alone.members) > 1:  # the broker had not seen it go
        alone = client.call(JOIN, 3, joining("gone", first))
    assert [each.member_id for each in alone.members] == [first]

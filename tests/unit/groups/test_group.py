"""The classic protocol's core, rule by rule; the quotations are Kafka's own comments and KIPs."""

import pytest

from headrace.broker.groups.messages import GroupState, LeavingMember
from headrace.broker.wire import ErrorCode
from tests.unit.groups.group_driver import NO_DELAY, RANGE, SETTINGS, Driver

OK = ErrorCode.none


def test_the_only_member_leads_and_gets_what_it_assigned() -> None:
    driver = Driver()
    joined = driver.joined(driver.join())
    assert (joined.error, joined.generation, joined.leader, joined.protocol_name) == (OK, 1, joined.member_id, "range")
    assert joined.members == ((joined.member_id, None, b"range-metadata"),)
    assert driver.group.state is GroupState.COMPLETING_REBALANCE
    synced = driver.synced(driver.sync(joined.member_id, 1, {joined.member_id: b"all"}))
    assert (synced.error, synced.assignment) == (OK, b"all")
    assert driver.group.state is GroupState.STABLE


def test_a_member_id_is_required_from_v4_on_and_not_before() -> None:
    """KIP-394; a client of v1 that gets MEMBER_ID_REQUIRED asks for ever (kafka-go#1435)."""
    old, new = Driver(), Driver()
    assert old.joined(old.join(version=3)).error is OK
    answer = new.joined(new.join(version=4))
    assert answer.error is ErrorCode.member_id_required
    assert answer.member_id.startswith("client-")
    assert new.joined(new.join(answer.member_id, version=4)).error is OK


def test_a_static_member_is_not_asked_for_its_id() -> None:
    driver = Driver()
    answer = driver.joined(driver.join(instance="one", version=9))
    assert answer.error is OK
    assert answer.member_id.startswith("one-")


def test_a_reserved_member_id_holds_a_rebalance_up_until_its_session_ends() -> None:
    driver = Driver()
    (member,) = driver.stable_group(1)
    reserved = driver.joined(driver.join(version=4)).member_id
    rejoin = driver.join(member)
    assert rejoin not in driver.answers
    for _ in range(2):
        driver.pass_time(5_000)
        driver.heartbeat(member, driver.group.generation)
    assert driver.joined(rejoin).generation == 2
    assert driver.joined(driver.join(reserved, version=4)).error is ErrorCode.unknown_member_id


def test_the_first_rebalance_waits_and_waits_longer_while_members_come() -> None:
    """KIP-134: "each time a new member joins … the delay is extended, up to the rebalance timeout"."""
    driver = Driver(settings=SETTINGS)
    first = driver.join()
    driver.pass_time(2_000)
    second = driver.join()
    driver.pass_time(1_500)
    assert first not in driver.answers
    driver.pass_time(2_500)
    assert driver.joined(first).generation == driver.joined(second).generation == 1
    assert {member_id for member_id, _, _ in driver.joined(first).members} == set(driver.group.members)


def test_the_first_rebalance_is_never_put_off_beyond_the_rebalance_timeout() -> None:
    driver = Driver(settings=SETTINGS)
    first = driver.join(rebalance_timeout_ms=7_000)
    for _ in range(4):
        driver.pass_time(1_700)
        driver.join(rebalance_timeout_ms=7_000)
    assert first not in driver.answers
    driver.pass_time(300)
    assert driver.joined(first).generation == 1


def test_a_group_that_lost_its_members_waits_again_when_one_comes() -> None:
    driver = Driver(settings=SETTINGS)
    request = driver.join()
    driver.pass_time(3_000)
    driver.leave(LeavingMember(driver.joined(request).member_id, None))
    assert driver.group.state is GroupState.EMPTY
    request = driver.join()
    driver.pass_time(2_999)
    assert request not in driver.answers
    driver.pass_time(1)
    assert driver.joined(request).generation == 3


def test_a_second_member_makes_the_first_join_again_and_both_share_generation_leader_and_protocol() -> None:
    driver = Driver()
    (first,) = driver.stable_group(1)
    second_request = driver.join()
    assert second_request not in driver.answers
    assert driver.heartbeat(first, 1) is ErrorCode.rebalance_in_progress
    first_answer = driver.joined(driver.join(first))
    second_answer = driver.joined(second_request)
    assert first_answer.generation == second_answer.generation == 2
    assert first_answer.leader == second_answer.leader == first
    assert len(first_answer.members) == 2
    assert second_answer.members == ()


def test_a_heartbeat_while_the_rebalance_completes_is_fine() -> None:
    """Kafka: "Consumers may start sending heartbeats after join-group response, while … in CompletingRebalance state"."""
    driver = Driver()
    member = driver.joined(driver.join()).member_id
    assert driver.group.state is GroupState.COMPLETING_REBALANCE
    assert driver.heartbeat(member, 1) is OK


@pytest.mark.parametrize(
    ("member", "generation", "error"),
    [
        ("known", 2, ErrorCode.illegal_generation),
        ("known", 0, ErrorCode.illegal_generation),
        ("other", 1, ErrorCode.unknown_member_id),
    ],
)
def test_requests_of_another_generation_or_of_strangers_are_fenced(member: str, generation: int, error: ErrorCode) -> None:
    driver = Driver()
    (known,) = driver.stable_group(1)
    member_id = known if member == "known" else "other"
    assert driver.heartbeat(member_id, generation) is error
    assert driver.synced(driver.sync(member_id, generation)).error is error
    assert driver.group.check_commit(member_id, None, generation, now_ms=driver.now_ms) is error


def test_a_sync_while_members_still_join_says_so() -> None:
    driver = Driver()
    (first,) = driver.stable_group(1)
    driver.join()
    assert driver.synced(driver.sync(first, 1)).error is ErrorCode.rebalance_in_progress


def test_a_sync_that_names_another_protocol_is_refused() -> None:
    driver = Driver()
    member = driver.joined(driver.join()).member_id
    for protocol in (("consumer", "sticky"), ("connect", "range")):
        assert driver.synced(driver.sync(member, 1, protocol=protocol)).error is ErrorCode.inconsistent_group_protocol
    assert driver.synced(driver.sync(member, 1, protocol=("consumer", "range"))).error is OK


@pytest.mark.parametrize(
    ("protocol_type", "protocols"), [("connect", RANGE), ("consumer", (("sticky", b""),)), ("consumer", ())]
)
def test_a_member_without_a_protocol_in_common_may_not_join(
    protocol_type: str, protocols: tuple[tuple[str, bytes], ...]
) -> None:
    driver = Driver()
    driver.stable_group(1)
    answer = driver.joined(driver.join(protocol_type=protocol_type, protocols=protocols))
    assert answer.error is ErrorCode.inconsistent_group_protocol
    assert driver.group.state is GroupState.STABLE


def test_the_protocol_with_most_votes_wins() -> None:
    driver = Driver(settings=SETTINGS)
    for preference in ("range", "sticky", "sticky"):
        other = "sticky" if preference == "range" else "range"
        request = driver.join(protocols=((preference, b"1"), (other, b"2")))
    driver.pass_time(6_000)
    assert driver.joined(request).protocol_name == "sticky"


def test_a_follower_that_joins_again_unchanged_is_told_the_current_generation() -> None:
    """Kafka: "for followers with no actual change to their metadata, just return … the current generation"."""
    driver = Driver()
    _, follower = driver.stable_group(2)
    answer = driver.joined(driver.join(follower))
    assert (answer.error, answer.generation, answer.members) == (OK, 2, ())
    assert driver.group.state is GroupState.STABLE
    assert driver.synced(driver.sync(follower, 2)).assignment == f"for {follower}".encode()


def test_the_leader_forces_a_rebalance_by_joining_again_unchanged() -> None:
    """Kafka: "this allows the leader to trigger rebalances for changes affecting assignment" (new partitions, say)."""
    driver = Driver()
    leader, follower = driver.stable_group(2)
    request = driver.join(leader)
    assert driver.group.state is GroupState.PREPARING_REBALANCE
    driver.join(follower)
    assert driver.joined(request).generation == 3


def test_a_follower_with_new_metadata_forces_a_rebalance() -> None:
    driver = Driver()
    _, follower = driver.stable_group(2)
    driver.join(follower, protocols=(("range", b"other topics"),))
    assert driver.group.state is GroupState.PREPARING_REBALANCE


def test_a_member_that_missed_the_answer_to_its_join_gets_it_again() -> None:
    """Kafka: "member is joining with the same metadata (which could be because it failed to receive the initial response)"."""
    driver = Driver()
    leader = driver.joined(driver.join()).member_id
    again = driver.joined(driver.join(leader))
    assert (again.generation, len(again.members)) == (1, 1)
    assert driver.group.state is GroupState.COMPLETING_REBALANCE


def test_a_join_given_up_and_repeated_is_answered_both_times() -> None:
    driver = Driver()
    leader, follower = driver.stable_group(2)
    given_up = driver.join(leader)
    repeated = driver.join(leader)
    driver.join(follower)
    assert driver.joined(given_up).error is ErrorCode.rebalance_in_progress
    assert driver.joined(repeated).generation == 3


def test_a_member_whose_session_ends_is_replaced_by_a_rebalance() -> None:
    driver = Driver()
    alive, dead = driver.stable_group(2)
    for _ in range(3):
        driver.pass_time(4_000)
        driver.heartbeat(alive, 2)
    assert dead not in driver.group.members
    assert driver.heartbeat(alive, 2) is ErrorCode.rebalance_in_progress
    answer = driver.joined(driver.join(alive))
    assert (answer.generation, [each[0] for each in answer.members]) == (3, [alive])


def test_members_that_wait_for_others_do_not_expire() -> None:
    """Kafka: "Members that are awaiting a rebalance automatically satisfy expected heartbeats"."""
    driver = Driver()
    waiting, slow = driver.stable_group(2)
    request = driver.join(waiting)
    for _ in range(6):
        driver.pass_time(9_000)
        assert driver.heartbeat(slow, 2) is ErrorCode.rebalance_in_progress
    assert waiting in driver.group.members
    driver.join(slow)
    assert driver.joined(request).error is OK


def test_members_that_do_not_join_again_within_the_rebalance_timeout_are_left_behind() -> None:
    driver = Driver()
    quick, slow = driver.stable_group(2)
    request = driver.join(quick)
    for _ in range(10):
        driver.pass_time(6_000)
        driver.heartbeat(slow, 2)
    assert [each[0] for each in driver.joined(request).members] == [quick]
    assert driver.heartbeat(slow, 3) is ErrorCode.unknown_member_id


def test_members_that_never_sync_are_removed_after_the_rebalance_timeout() -> None:
    """KIP-62's other half: without this bound the rest would wait for ever for a member that heartbeats and never syncs."""
    driver = Driver()
    leader, _ = driver.stable_group(2)
    joining = driver.join()
    for each in list(driver.group.members)[:2]:
        driver.join(each)
    silent = driver.joined(joining).member_id
    waiting = driver.sync(leader, 3, {})
    assert driver.synced(waiting).error is OK
    for _ in range(10):
        driver.pass_time(6_000)
        for each in driver.group.members:
            driver.heartbeat(each, 3)
    assert silent not in driver.group.members
    assert driver.group.state is GroupState.PREPARING_REBALANCE


def test_followers_wait_until_the_assignment_is_stored() -> None:
    driver = Driver()
    driver.stable_group(1)
    second = driver.join()
    leader = next(iter(driver.group.members))
    driver.join(leader)
    follower = driver.joined(second).member_id
    waiting = driver.sync(follower, 2)
    driver.store_error = None
    leading = driver.sync(leader, 2, {follower: b"half"})
    assert waiting not in driver.answers
    assert leading not in driver.answers
    driver.carry_out(driver.group.on_stored(driver.stores[-1], OK, now_ms=driver.now_ms))
    assert driver.synced(waiting).assignment == b"half"
    assert driver.synced(leading).assignment == b""


def test_an_assignment_that_cannot_be_stored_fails_the_syncs_and_rebalances() -> None:
    driver = Driver(store_error=ErrorCode.coordinator_not_available)
    leader = driver.joined(driver.join()).member_id
    assert driver.synced(driver.sync(leader, 1, {leader: b"x"})).error is ErrorCode.coordinator_not_available
    assert driver.group.state is GroupState.PREPARING_REBALANCE


def test_an_assignment_stored_after_its_generation_has_ended_changes_nothing() -> None:
    driver = Driver(store_error=None)
    leader = driver.joined(driver.join()).member_id
    sync = driver.sync(leader, 1, {leader: b"stale"})
    driver.join()
    assert driver.synced(sync).error is ErrorCode.rebalance_in_progress
    driver.carry_out(driver.group.on_stored(driver.stores[-1], OK, now_ms=driver.now_ms))
    assert driver.group.state is GroupState.PREPARING_REBALANCE


def test_a_member_that_leaves_makes_the_others_rebalance_at_once() -> None:
    driver = Driver()
    stays, goes = driver.stable_group(2)
    assert driver.leave(LeavingMember(goes, None)) == (OK,)
    assert driver.heartbeat(stays, 2) is ErrorCode.rebalance_in_progress
    assert driver.joined(driver.join(stays)).generation == 3


def test_the_last_member_leaves_an_empty_group_of_the_next_generation() -> None:
    driver = Driver()
    (member,) = driver.stable_group(1)
    driver.leave(LeavingMember(member, None))
    assert driver.group.state is GroupState.EMPTY
    assert driver.stores[-1].snapshot.members == ()
    assert (driver.stores[-1].snapshot.generation, driver.stores[-1].snapshot.protocol_type) == (2, "consumer")
    assert driver.group.next_deadline_ms() is None


def test_the_last_member_leaves_at_once_even_if_somebody_has_been_given_an_id() -> None:
    driver = Driver()
    (member,) = driver.stable_group(1)
    reserved = driver.joined(driver.join(version=4)).member_id
    driver.leave(LeavingMember(member, None))
    assert driver.group.state is GroupState.EMPTY
    assert driver.joined(driver.join(reserved, version=4)).generation == 3


def test_several_leave_at_once_each_with_its_own_error() -> None:
    driver = Driver()
    _, second, third = driver.stable_group(3, instances=("one", None, "three"))
    errors = driver.leave(
        LeavingMember(second, None),
        LeavingMember("", "three"),
        LeavingMember("stranger", None),
        LeavingMember(third, "one"),
        LeavingMember("", "nobody"),
    )
    unknown, fenced = ErrorCode.unknown_member_id, ErrorCode.fenced_instance_id
    assert errors == (OK, OK, unknown, fenced, unknown)
    assert len(driver.group.members) == 1


def test_a_member_that_leaves_while_it_waits_is_answered() -> None:
    driver = Driver()
    first, second = driver.stable_group(2)
    waiting = driver.join(first)
    driver.leave(LeavingMember(first, None))
    assert driver.joined(waiting).error is ErrorCode.unknown_member_id
    assert driver.joined(driver.join(second)).generation == 3


def test_a_group_has_at_most_its_maximum_of_members() -> None:
    driver = Driver()
    members = driver.stable_group(5)
    assert driver.joined(driver.join()).error is ErrorCode.group_max_size_reached
    assert driver.heartbeat(members[0], driver.group.generation) is OK


def test_only_an_empty_group_is_deleted() -> None:
    driver = Driver()
    (member,) = driver.stable_group(1)
    assert driver.group.delete() is ErrorCode.non_empty_group
    driver.leave(LeavingMember(member, None))
    assert driver.group.delete() is OK
    assert driver.joined(driver.join()).error is ErrorCode.coordinator_not_available


def test_commits_without_a_generation_are_for_empty_groups_only() -> None:
    """Kafka: "In this case, the request can commit offsets if the group is empty"."""
    driver = Driver()
    assert driver.group.check_commit("", None, -1, now_ms=driver.now_ms) is OK
    (member,) = driver.stable_group(1)
    assert driver.group.check_commit("", None, -1, now_ms=driver.now_ms) is ErrorCode.unknown_member_id
    assert driver.group.check_commit(member, None, 1, now_ms=driver.now_ms) is OK


def test_commits_are_taken_while_members_join_and_put_off_until_they_have_synced() -> None:
    driver = Driver()
    (member,) = driver.stable_group(1)
    driver.join()
    assert driver.group.check_commit(member, None, 1, now_ms=driver.now_ms) is OK
    driver.join(member)
    assert driver.group.check_commit(member, None, 2, now_ms=driver.now_ms) is ErrorCode.rebalance_in_progress


def test_a_commit_counts_as_a_heartbeat() -> None:
    driver = Driver()
    (member,) = driver.stable_group(1)
    for _ in range(4):
        driver.pass_time(6_000)
        assert driver.group.check_commit(member, None, 1, now_ms=driver.now_ms) is OK


def test_a_restored_group_is_stable_with_its_members_and_fresh_sessions() -> None:
    driver = Driver()
    leader, follower = driver.stable_group(2)
    after = Driver(now_ms=77)
    after.group = type(driver.group).restored("g", driver.stores[-1].snapshot, NO_DELAY, now_ms=77)
    assert (after.group.state, after.group.generation, after.group.leader) == (GroupState.STABLE, 2, leader)
    assert after.heartbeat(follower, 2) is OK
    assert after.synced(after.sync(follower, 2)).assignment == f"for {follower}".encode()
    after.pass_time(10_000)
    assert after.group.state is GroupState.EMPTY


def test_a_new_member_whose_client_has_gone_does_not_hold_the_others_up() -> None:
    driver = Driver()
    (first,) = driver.stable_group(1)
    gone = driver.join()
    rejoin_of_known = driver.join(first)
    assert driver.joined(gone).generation == driver.joined(rejoin_of_known).generation == 2
    new = driver.join()
    driver.abandon(new)
    assert len(driver.group.members) == 2


def test_a_known_member_whose_client_has_gone_may_come_back() -> None:
    driver = Driver()
    first, second = driver.stable_group(2)
    waiting = driver.join(first)
    driver.abandon(waiting)
    assert first in driver.group.members
    again = driver.join(first)
    driver.join(second)
    assert driver.joined(again).generation == 3

"""Static membership: a member with an instance id may restart within its session without a rebalance (KIP-345)."""

from dataclasses import replace

from headrace.broker.groups.messages import GroupState, LeavingMember
from headrace.broker.wire import ErrorCode
from tests.unit.groups.group_driver import NO_DELAY, Driver

OK = ErrorCode.none
SLOW_START = replace(NO_DELAY, initial_rebalance_delay_ms=20_000)


def static_pair() -> tuple[Driver, str, str]:
    driver = Driver()
    leader, follower = driver.stable_group(2, instances=("one", "two"))
    return driver, leader, follower


def test_a_restarted_static_member_takes_its_place_without_a_rebalance() -> None:
    driver, leader, follower = static_pair()
    answer = driver.joined(driver.join(instance="two"))
    assert (answer.error, answer.generation, answer.leader, answer.members) == (OK, 2, leader, ())
    assert answer.member_id != follower
    assert driver.group.state is GroupState.STABLE
    synced = driver.synced(driver.sync(answer.member_id, 2, instance="two"))
    assert synced.assignment == f"for {follower}".encode()
    assert answer.member_id in {member.member_id for member in driver.stores[-1].snapshot.members}


def test_the_former_self_of_a_restarted_member_is_fenced() -> None:
    driver, _, follower = static_pair()
    driver.join(instance="two")
    fenced = ErrorCode.fenced_instance_id
    assert driver.heartbeat(follower, 2, "two") is fenced
    assert driver.synced(driver.sync(follower, 2, instance="two")).error is fenced
    assert driver.joined(driver.join(follower, instance="two")).error is fenced
    assert driver.group.check_commit(follower, "two", 2, now_ms=driver.now_ms) is fenced
    assert driver.leave(LeavingMember(follower, "two")) == (fenced,)


def test_a_restarted_leader_that_knows_v9_is_told_to_skip_the_assignment() -> None:
    """KIP-814: the leader must see the members, for it watches their topics, and must not assign."""
    driver, _, _ = static_pair()
    answer = driver.joined(driver.join(instance="one", version=9))
    assert answer.skip_assignment
    assert (answer.leader, len(answer.members)) == (answer.member_id, 2)


def test_a_restarted_leader_of_an_older_version_is_told_its_former_self_leads() -> None:
    driver, leader, _ = static_pair()
    answer = driver.joined(driver.join(instance="one", version=5))
    assert (answer.leader, answer.skip_assignment, answer.members) == (leader, False, ())
    assert driver.group.leader == answer.member_id


def test_a_static_member_that_restarts_with_a_deciding_vote_causes_a_rebalance() -> None:
    driver = Driver()
    driver.join(instance="one", protocols=(("range", b"r"), ("sticky", b"s")))
    driver.sync(*_only(driver), instance="one")
    driver.join(instance="one", protocols=(("sticky", b"s"), ("range", b"r")))
    assert (driver.group.generation, driver.group.protocol_name) == (2, "sticky")


def test_a_static_member_that_restarts_while_syncs_wait_causes_a_rebalance() -> None:
    """Kafka: "the old member may already be sent to the leader for assignment"."""
    driver = Driver()
    first = driver.join(instance="one")
    follower = driver.join(instance="two")
    driver.join(driver.joined(first).member_id, instance="one")
    waiting = driver.sync(driver.joined(follower).member_id, 2, instance="two")
    driver.join(instance="two")
    assert driver.synced(waiting).error is ErrorCode.fenced_instance_id
    assert driver.group.state is GroupState.PREPARING_REBALANCE


def test_a_static_member_that_restarts_while_it_waits_fences_its_waiting_self() -> None:
    driver, _, _ = static_pair()
    driver.join()
    waiting = driver.join(next(iter(driver.group.members)), instance="one")
    restarted = driver.join(instance="one")
    assert driver.joined(waiting).error is ErrorCode.fenced_instance_id
    assert restarted not in driver.answers


def test_an_absent_static_member_stays_until_its_session_ends() -> None:
    driver = Driver()
    leader, absent = driver.stable_group(2, instances=(None, "two"))
    driver.leave(LeavingMember(leader, None))
    driver.pass_time(9_999)
    assert absent in driver.group.members
    driver.pass_time(1)
    assert driver.group.state is GroupState.EMPTY


def test_a_static_member_whose_place_cannot_be_stored_is_told_so_and_may_try_again() -> None:
    driver, _, _ = static_pair()
    driver.store_error = ErrorCode.coordinator_not_available
    assert driver.joined(driver.join(instance="two")).error is ErrorCode.coordinator_not_available
    driver.store_error = OK
    assert driver.joined(driver.join(instance="two")).error is OK


def test_a_rebalance_that_begins_while_a_static_member_is_stored_answers_it() -> None:
    driver, leader, _ = static_pair()
    driver.store_error = None
    restarted = driver.join(instance="two")
    rejoined = driver.join(leader, instance="one")
    assert driver.joined(rejoined).generation == driver.joined(restarted).generation == 3
    driver.carry_out(driver.group.on_stored(driver.stores[-1], OK, now_ms=driver.now_ms))
    assert driver.group.state is GroupState.COMPLETING_REBALANCE


def _only(driver: Driver) -> tuple[str, int, dict[str, bytes]]:
    (member_id,) = driver.group.members
    return member_id, driver.group.generation, {member_id: b"all"}


def test_no_generation_begins_without_anybody_who_has_joined() -> None:
    driver = Driver()
    driver.stable_group(2, instances=("one", "two"))
    driver.abandon(driver.join())  # somebody came, and went again
    generation = driver.group.generation
    for _ in range(12):
        driver.pass_time(6_000)
        for member_id, member in driver.group.members.items():
            driver.heartbeat(member_id, generation, member.group_instance_id)
    assert (driver.group.state, driver.group.generation) == (GroupState.PREPARING_REBALANCE, generation)
    back = [driver.join(each, instance=member.group_instance_id) for each, member in list(driver.group.members.items())]
    assert {driver.joined(each).generation for each in back} == {generation + 1}


def test_a_static_member_that_restarts_before_it_was_ever_answered_waits_like_the_others() -> None:
    driver = Driver(settings=SLOW_START)
    driver.join(instance="one")
    restarted = driver.join(instance="one")
    driver.pass_time(19_999)
    assert "one" in {member.group_instance_id for member in driver.group.members.values()}
    driver.pass_time(1)
    assert driver.joined(restarted).error is OK

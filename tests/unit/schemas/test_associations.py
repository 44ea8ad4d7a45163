"""Associations of topics with subjects, as Confluent's clients make and ask for them."""

from typing import Any

import pytest

from headrace.schemas.registry import Registry
from tests.unit.schemas.memory_log import MemoryLog
from tests.unit.schemas.rest_api import Api, serve

KEY = {"subject": "a", "associationType": "key", "lifecycle": "WEAK"}
VALUE = {"subject": "b", "associationType": "value", "lifecycle": "STRONG"}
BY_NAME = "/associations/resources/kafka-1/orders"


def orders(*associations: dict[str, Any], name: str = "orders", resource: str = "id-1") -> dict[str, Any]:
    return {"resourceName": name, "resourceNamespace": "kafka-1", "resourceId": resource, "associations": list(associations)}


async def with_subjects(api: Api) -> None:
    await api.register("a", '"long"')
    await api.register("b", '"string"')
    await api.register("c", '"bytes"')


async def subjects_of(api: Api, path: str) -> list[tuple[str, str, str]]:
    status, found = await api("GET", path)
    assert status == 200
    return [(one["subject"], one["associationType"], one["lifecycle"]) for one in found]


async def deleted(api: Api, path: str) -> int:
    async with api.client.delete(path) as response:
        return response.status


def test_associations_are_made_found_by_every_way_and_taken_back() -> None:
    async def scenario(api: Api) -> None:
        await with_subjects(api)
        assert (await api("POST", "/associations?dryRun=true", orders(KEY)))[1].keys().isdisjoint({"associations"})
        status, made = await api("POST", "/associations", orders(KEY, VALUE))
        assert (status, made["resourceId"], made["resourceType"]) == (200, "id-1", "topic")
        assert made["associations"] == [{**KEY, "frozen": False}, {**VALUE, "frozen": False}]
        assert (await api("POST", "/associations", orders(KEY, VALUE)))[0] == 200
        both = [("a", "key", "WEAK"), ("b", "value", "STRONG")]
        assert await subjects_of(api, BY_NAME) == both
        assert await subjects_of(api, "/associations/resources/-/orders?resourceType=topic") == both
        assert await subjects_of(api, "/associations/resources/other/orders") == []
        assert await subjects_of(api, "/associations/resources/id-1?associationType=key&associationType=x") == both[:1]
        assert await subjects_of(api, "/associations/resources/id-1?lifecycle=strong") == both[1:]
        assert await subjects_of(api, "/associations/resources/id-1?offset=1&limit=1") == both[1:]
        assert await subjects_of(api, "/associations/subjects/b") == both[1:]
        assert await deleted(api, "/associations/resources/id-1?associationType=key&dryRun=true") == 204
        assert await deleted(api, "/associations/resources/id-1?associationType=key") == 204
        assert await subjects_of(api, BY_NAME) == both[1:]
        assert await deleted(api, "/associations/resources/id-1?cascadeLifecycle=true") == 204
        assert await api("GET", "/subjects") == (200, ["a", "c"])
        assert await api.refused("DELETE", "/associations/resources/id-1") == (404, 40410)

    serve(scenario)


@pytest.mark.parametrize(
    ("method", "body", "status", "code"),
    [
        ("POST", orders({**KEY, "lifecycle": "STRONG"}), 409, 40903),
        ("POST", orders({**KEY, "subject": "b"}), 409, 40903),
        ("PUT", orders({**KEY, "subject": "b"}), 422, 42212),
        ("POST", orders({**VALUE, "subject": "a"}), 409, 40904),
        ("POST", orders({**KEY, "subject": "b"}, name="returns", resource="id-2"), 409, 40905),
        ("POST", orders({**KEY, "subject": "none"}, name="returns", resource="id-2"), 409, 40907),
        ("POST", orders({**KEY, "frozen": True}, name="returns", resource="id-2"), 422, 42212),
        ("PUT", orders({**KEY, "frozen": True}), 422, 42212),
        ("PUT", orders(KEY, resource="id-9"), 422, 42212),
        ("POST", orders(KEY, KEY, name="returns"), 422, 42212),
        ("POST", orders({**KEY, "subject": "c"}, {**VALUE, "subject": "c"}, name="returns", resource="id-2"), 409, 40904),
        ("POST", orders({**KEY, "associationType": "header"}), 422, 42212),
        ("POST", orders({**KEY, "lifecycle": "LONG"}), 422, 42212),
        ("POST", orders(), 422, 42212),
        ("POST", {**orders(KEY), "resourceName": ""}, 422, 42212),
        ("POST", {**orders(KEY), "resourceType": "table"}, 422, 42212),
        ("POST", orders({**KEY, "schema": "text"}), 400, 400),
    ],
)
def test_what_cannot_be_associated_is_refused_with_its_own_code(method: str, body: object, status: int, code: int) -> None:
    async def scenario(api: Api) -> None:
        await with_subjects(api)
        await api("POST", "/associations", orders(KEY))
        await api("POST", "/associations", orders(VALUE, name="payments", resource="id-3"))
        path = "/associations" if method == "POST" else "/associations/resources/id-1"
        assert await api.refused(method, path, body) == (status, code)
        assert await subjects_of(api, BY_NAME) == [("a", "key", "WEAK")]

    serve(scenario)


def test_a_lifecycle_may_change_and_a_frozen_association_may_not() -> None:
    async def scenario(api: Api) -> None:
        await with_subjects(api)
        await api("POST", "/associations", orders(KEY))
        assert (await api("PUT", "/associations/resources/id-1", orders({**KEY, "lifecycle": "STRONG"})))[0] == 200
        assert await subjects_of(api, BY_NAME) == [("a", "key", "STRONG")]
        assert (await api("PUT", "/associations/resources/id-1", orders({**VALUE, "frozen": True})))[0] == 200
        assert await api.refused("PUT", "/associations/resources/id-1", orders({**VALUE, "lifecycle": "WEAK"})) == (409, 40908)
        assert await deleted(api, "/associations/resources/id-1?associationType=value") == 409

    serve(scenario)


def test_a_schema_may_come_with_an_association_under_the_name_of_its_topic() -> None:
    async def scenario(api: Api) -> None:
        status, made = await api("POST", "/associations", orders({"schema": {"schema": '"long"'}}))
        assert (status, made["associations"][0]["subject"]) == (200, ":.kafka-1:orders-value")
        assert (await api("GET", "/subjects/:.kafka-1:orders-value/versions/1"))[1]["schema"] == '"long"'
        assert await api.refused("POST", "/associations", orders({"schema": {"schema": "no"}}, name="x")) == (422, 42201)
        assert await subjects_of(api, "/associations/resources/-/x") == []

    serve(scenario)


def test_of_two_registries_that_associate_at_once_the_first_in_the_log_wins_also_after_compaction() -> None:
    log = MemoryLog()

    async def scenario(api: Api) -> None:
        await with_subjects(api)
        await api("POST", "/associations", orders(KEY))
        other = log.records[-1]
        assert other.key is not None
        assert other.value is not None
        key, value = other.key.replace(b'"a"', b'"b"'), other.value.replace(b'"a"', b'"b"')
        await log.append(key, value)  # by a registry that had not yet read the first
        await api("PUT", "/associations/resources/id-1", orders({**KEY, "lifecycle": "STRONG"}))
        assert await subjects_of(api, BY_NAME) == [("a", "key", "STRONG")]
        last = {one.key: one for one in log.records}
        assert last[key].value is None  # repaired, so that it cannot come first when the log is compacted
        log.records[:] = [one for one in log.records if last[one.key] is one]
        again = Registry(log)
        log.follow(again)
        assert [one.key.subject for one in again.store.associations.found()] == ["a"]
        assert again.store.repair() is None

    serve(scenario, log)

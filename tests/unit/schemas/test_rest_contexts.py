"""Contexts, modes, configurations, metadata, references, GUIDs and deletion for good, as Confluent's clients meet them."""

import json
import uuid

import pytest

from headrace.schemas.records import ContextKey
from headrace.schemas.registry import Registry
from tests.unit.schemas.memory_log import MemoryLog
from tests.unit.schemas.rest_api import Api, serve

LONG, TEXT = '"long"', '"string"'
CONTRACT = {
    "metadata": {"properties": {"owner": "billing", "app.major": "1"}, "tags": {"**.ssn": ["PII"]}, "sensitive": ["s"]},
    "ruleSet": {
        "domainRules": [{"name": "r", "kind": "CONDITION", "type": "CEL", "mode": "WRITE", "expr": "true", "disabled": False}]
    },
}


def record(name: str, *fields: object) -> str:
    return json.dumps({"type": "record", "name": name, "fields": list(fields)}, separators=(",", ":"))


def test_each_context_has_ids_of_its_own() -> None:
    async def scenario(api: Api) -> None:
        await api.register("a", LONG)
        await api.register("a", LONG)
        assert await api.register(":.c:a", TEXT) == (200, {"id": 1})
        assert await api("GET", "/contexts") == (200, [".", ".c"])
        assert await api("GET", "/subjects") == (200, [":.c:a", "a"])
        assert await api("GET", "/subjects?subjectPrefix=:.c:") == (200, [":.c:a"])
        assert await api("GET", "/subjects?subjectPrefix=") == (200, ["a"])
        assert await api("GET", "/subjects?subjectPrefix=:*:a") == (200, [":.c:a", "a"])
        assert (await api("GET", "/schemas/ids/1"))[1]["schema"] == LONG
        assert (await api("GET", "/schemas/ids/1?subject=:.c:a"))[1]["schema"] == TEXT
        assert (await api("GET", "/schemas/ids/1?subject=:.c:"))[1]["schema"] == TEXT
        assert await api("GET", "/schemas/ids/1/subjects?subject=:.c:") == (200, [":.c:a"])
        assert (await api("GET", "/subjects/:.:a/versions/1"))[1]["subject"] == "a"
        assert await api.refused("GET", "/subjects/:.d:a/versions/1") == (404, 40401)
        assert await api.refused("GET", "/subjects/:.c%2F:a/versions/1") == (422, 42208)

    serve(scenario)


def test_a_path_may_begin_with_a_context() -> None:
    async def scenario(api: Api) -> None:
        assert await api("POST", "/contexts/.c/subjects/a/versions", {"schema": LONG}) == (200, {"id": 1})
        assert await api("POST", "/contexts/:.c:/subjects/b/versions", {"schema": TEXT}) == (200, {"id": 2})
        assert await api("GET", "/contexts/.c/subjects") == (200, [":.c:a", ":.c:b"])
        assert (await api("GET", "/contexts/.c/schemas/ids/2"))[1]["schema"] == TEXT
        assert await api("PUT", "/contexts/.c/config", {"compatibility": "NONE"}) == (200, {"compatibility": "NONE"})
        assert await api("GET", "/config/:.c:a?defaultToGlobal=true") == (200, {"compatibilityLevel": "NONE"})
        assert await api("GET", "/config") == (200, {"compatibilityLevel": "BACKWARD"})
        assert await api.register(":.c:a", TEXT) == (200, {"id": 2})
        assert await api("GET", "/subjects?subjectPrefix=a") == (200, [])

    serve(scenario)


def test_a_mode_decides_who_may_change_what() -> None:
    async def scenario(api: Api) -> None:
        await api.register("s", LONG)
        assert await api("GET", "/mode") == (200, {"mode": "READWRITE"})
        assert await api.refused("GET", "/mode/s") == (404, 40409)
        assert await api("GET", "/mode/s?defaultToGlobal=true") == (200, {"mode": "READWRITE"})
        assert await api.refused("PUT", "/mode/s", {"mode": "SIDEWAYS"}) == (422, 42204)
        assert await api("PUT", "/mode/s", {"mode": "readonly"}) == (200, {"mode": "READONLY"})
        assert await api.refused("POST", "/subjects/s/versions", {"schema": TEXT}) == (422, 42205)
        assert await api.register("s", LONG) == (200, {"id": 1})
        assert await api.refused("DELETE", "/subjects/s") == (422, 42205)
        assert await api.refused("DELETE", "/subjects/s/versions/1") == (422, 42205)
        assert await api.refused("PUT", "/config/s", {"compatibility": "NONE"}) == (422, 42205)
        assert (await api.register("t", LONG))[0] == 200
        assert await api("DELETE", "/mode/s") == (200, {"mode": "READONLY"})
        assert await api.refused("DELETE", "/mode/s") == (404, 40401)
        await api("PUT", "/mode/s", {"mode": "READWRITE"})
        await api("PUT", "/mode", {"mode": "READONLY_OVERRIDE"})
        assert await api.refused("POST", "/subjects/s/versions", {"schema": TEXT}) == (422, 42205)
        assert await api("DELETE", "/mode") == (200, {"mode": "READONLY_OVERRIDE"})
        assert await api("DELETE", "/subjects/s") == (200, [1])

    serve(scenario)


def test_ids_and_versions_are_chosen_in_mode_import_alone() -> None:
    async def scenario(api: Api) -> None:
        await api.register("s", LONG)
        assert await api.refused("PUT", "/mode/s", {"mode": "IMPORT"}) == (422, 42205)
        assert (await api("PUT", "/mode/s?force=true", {"mode": "IMPORT"}))[0] == 200
        await api("PUT", "/mode/:.c:", {"mode": "IMPORT"})
        assert await api.register(":.c:t", TEXT, id=77, version=3) == (200, {"id": 77})
        assert (await api("GET", "/subjects/:.c:t/versions/3"))[1]["id"] == 77
        assert await api.register(":.c:u", TEXT, id=77) == (200, {"id": 77})
        assert await api.refused("POST", "/subjects/:.c:t/versions", {"schema": LONG, "id": 77}) == (422, 42205)
        assert await api.register(":.c:v", TEXT, id=78) == (200, {"id": 78})  # a schema may have two ids, an id one schema
        assert await api.refused("POST", "/subjects/:.c:t/versions", {"schema": LONG, "id": 9, "version": 3}) == (422, 42205)
        assert await api.refused("POST", "/subjects/:.c:t/versions", {"schema": LONG}) == (422, 42205)
        assert await api.refused("POST", "/subjects/x/versions", {"schema": TEXT, "id": 77}) == (422, 42205)
        await api("PUT", "/mode/:.c:", {"mode": "READWRITE"})
        assert await api.register(":.c:w", LONG) == (200, {"id": 79})

    serve(scenario)


def test_where_the_greatest_id_was_chosen_the_smallest_free_one_comes_next() -> None:
    async def scenario(api: Api) -> None:
        await api("PUT", "/mode", {"mode": "IMPORT"})
        assert await api.register("s", LONG, id=2**31 - 1) == (200, {"id": 2**31 - 1})
        assert await api.register("t", TEXT, id=1) == (200, {"id": 1})
        await api("PUT", "/mode", {"mode": "READWRITE"})
        assert await api.register("u", '"bytes"') == (200, {"id": 2})

    serve(scenario)


def test_a_configuration_is_kept_member_by_member_and_unknown_ones_are_read_over() -> None:
    members = {
        "alias": "t", "normalize": True, "validateFields": False, "compatibilityGroup": "m", "compatibilityPolicy": "STRICT",
        "defaultMetadata": {"properties": {"a": "b"}}, "overrideRuleSet": {},
    }  # fmt: skip

    async def scenario(api: Api) -> None:
        assert await api("PUT", "/config/s", {"compatibility": "FULL", **members}) == (
            200,
            {"compatibility": "FULL", **members},
        )
        assert await api("GET", "/config/s") == (200, {"compatibilityLevel": "FULL", **members})
        assert await api("PUT", "/config/s", {"compatibility": "NONE", "alias": None}) == (
            200,
            {"compatibility": "NONE", **{name: value for name, value in members.items() if name != "alias"}},
        )
        del members["alias"]
        assert await api("GET", "/config/s") == (200, {"compatibilityLevel": "NONE", **members})
        assert (await api("PUT", "/config/s", {"compatibility": "NONE", "elephants": 3}))[1].keys() == {
            "compatibility",
            *members,
        }
        assert await api.refused("PUT", "/config/s", {"normalize": "yes"}) == (400, 400)
        assert await api.refused("PUT", "/config/s", {"compatibilityPolicy": "KIND"}) == (422, 42203)
        assert await api("DELETE", "/config/s") == (200, {"compatibilityLevel": "NONE", **members})
        assert await api.refused("DELETE", "/config/s") == (404, 40401)

    serve(scenario)


def test_metadata_and_rules_are_kept_told_and_inherited() -> None:
    async def scenario(api: Api) -> None:
        assert await api.register("s", LONG) == (200, {"id": 1})
        assert await api.register("s", LONG, **CONTRACT) == (
            200,
            {"id": 2, "version": 2, "subject": "s", "schema": LONG, **CONTRACT},
        )
        found = (await api("GET", "/subjects/s/versions/latest"))[1]
        assert {name: found[name] for name in CONTRACT} == CONTRACT
        assert {name: (await api("GET", "/schemas/ids/2"))[1][name] for name in CONTRACT} == CONTRACT
        assert await api.register("s", LONG) == (200, {"id": 1})  # whoever knows of no contract finds what was there
        assert (await api("POST", "/subjects/s", {"schema": LONG}))[1]["version"] == 1
        assert (await api("POST", "/subjects/s", {"schema": LONG, **CONTRACT}))[1]["version"] == 2
        await api("PUT", "/config/s", {"compatibility": "NONE"})
        assert (await api.register("s", TEXT))[1]["metadata"] == CONTRACT["metadata"]
        assert (await api("GET", "/subjects/s/versions/3"))[1]["ruleSet"] == CONTRACT["ruleSet"]
        assert (await api("GET", "/subjects/s/metadata?key=owner&value=billing"))[1]["version"] == 3
        assert await api.refused("GET", "/subjects/s/metadata?key=owner&value=nobody") == (404, 40403)
        assert await api.refused("GET", "/subjects/none/metadata") == (404, 40401)

    serve(scenario)


def test_a_compatibility_group_divides_a_subject() -> None:
    async def scenario(api: Api) -> None:
        await api("PUT", "/config/s", {"compatibilityGroup": "major"})
        one, two = ({"metadata": {"properties": {"major": major}}} for major in "12")
        assert (await api.register("s", LONG, **one))[0] == 200
        assert await api.refused("POST", "/subjects/s/versions", {"schema": TEXT, **one}) == (409, 409)
        assert (await api.register("s", TEXT, **two))[0] == 200

    serve(scenario)


def test_a_schema_may_refer_to_versions_of_other_subjects() -> None:
    money = record("Money", {"name": "amount", "type": "long"})
    order = record("Order", {"name": "price", "type": "Money"}, {"name": "next", "type": ["null", "Order"]})
    references = [{"name": "Money", "subject": "money", "version": 1}]

    async def scenario(api: Api) -> None:
        assert await api.refused("POST", "/subjects/order/versions", {"schema": order, "references": references}) == (
            422,
            42201,
        )
        await api.register("money", money)
        assert await api.register("order", order, references=references) == (200, {"id": 2})
        assert await api.register("order", order, references=references) == (200, {"id": 2})
        assert (await api("GET", "/subjects/order/versions/1"))[1]["references"] == references
        assert await api("GET", "/subjects/money/versions/1/referencedby") == (200, [2])
        assert await api.refused("DELETE", "/subjects/money") == (422, 42206)
        assert await api.refused("DELETE", "/subjects/money/versions/1") == (422, 42206)
        without = record("Order", {"name": "price", "type": "Money"}, {"name": "must", "type": "int"})
        assert await api.refused("POST", "/subjects/order/versions", {"schema": without, "references": references}) == (
            409,
            409,
        )
        assert await api("DELETE", "/subjects/order") == (200, [1])
        assert await api("GET", "/subjects/money/versions/1/referencedby") == (200, [])
        assert await api("DELETE", "/subjects/money") == (200, [1])

    serve(scenario)


def test_a_guid_is_the_same_everywhere_and_finds_its_schema() -> None:
    async def scenario(api: Api) -> None:
        await api.register("a", LONG)
        await api.register(":.c:x", TEXT)
        await api.register(":.c:a", LONG)
        guid = (await api("GET", "/subjects/a/versions/1"))[1]["guid"]
        assert str(uuid.UUID(guid)) == guid
        assert (await api("GET", "/subjects/:.c:a/versions/1"))[1]["guid"] == guid
        assert (await api("GET", f"/schemas/guids/{guid.upper()}"))[1]["schema"] == LONG
        assert await api("GET", f"/schemas/guids/{guid}/ids") == (200, [{"context": ".", "id": 1}, {"context": ".c", "id": 2}])
        assert await api.refused("GET", f"/schemas/guids/{uuid.UUID(int=5)}") == (404, 40403)

    serve(scenario)


def test_whoever_takes_unknown_members_is_told_the_version_and_the_guid() -> None:
    async def scenario(api: Api) -> None:
        accepts = {"headers": {"Confluent-Accept-Unknown-Properties": "true"}}
        status, body = await api("POST", "/subjects/s/versions", {"schema": LONG}, **accepts)
        assert (status, body["id"], body["version"]) == (200, 1, 1)
        assert body.keys() == {"id", "version", "guid"}  # clients keep what they sent, in the format that they sent

    serve(scenario)


def test_deletion_for_good_comes_after_the_soft_one_and_an_id_is_never_another_schemas() -> None:
    log = MemoryLog()

    async def scenario(api: Api) -> None:
        await api("PUT", "/config", {"compatibility": "NONE"})
        await api.register("s", LONG)
        await api.register("s", TEXT)
        assert await api.refused("DELETE", "/subjects/s?permanent=true") == (404, 40405)
        assert await api.refused("DELETE", "/subjects/s/versions/2?permanent=true") == (404, 40407)
        await api("DELETE", "/subjects/s/versions/2")
        assert await api.refused("DELETE", "/subjects/s/versions/2") == (404, 40406)
        assert await api("DELETE", "/subjects/s/versions/2?permanent=true") == (200, 2)
        assert await api.refused("GET", "/subjects/s/versions/2?deleted=true") == (404, 40402)
        assert await api.refused("GET", "/schemas/ids/2") == (404, 40403)
        await api("DELETE", "/subjects/s")
        assert await api.refused("DELETE", "/subjects/s") == (404, 40404)
        assert await api("GET", "/subjects/s/versions?deletedOnly=true") == (200, [1])
        assert await api("GET", "/subjects?deletedOnly=true") == (200, ["s"])
        assert await api("DELETE", "/subjects/s?permanent=true") == (200, [1])
        assert await api.refused("DELETE", "/subjects/s?permanent=true") == (404, 40401)
        last = {one.key: one for one in log.records}
        log.records[:] = [one for one in log.records if last[one.key] is one and one.value is not None]
        again = Registry(log)
        log.follow(again)
        assert again.store.max_id() == 2  # from the compacted log, after its tombstones are gone

    serve(scenario, log)

    async def afterwards(api: Api) -> None:
        assert await api.register("s", '"bytes"') == (200, {"id": 3})
        assert await api.register("t", TEXT) == (200, {"id": 2})
        assert await api("GET", "/subjects/s/versions") == (200, [1])

    serve(afterwards, log)


def test_a_context_is_deleted_when_nothing_is_left_in_it_and_its_ids_are_not_given_again() -> None:
    log = MemoryLog()

    async def scenario(api: Api) -> None:
        await api.register(":.c:a", LONG)
        await api("PUT", "/contexts/.c/config", {"compatibility": "NONE"})
        await api("PUT", "/mode/:.c:", {"mode": "READWRITE"})
        assert await api.refused("DELETE", "/contexts/.c") == (422, 42211)
        await api("DELETE", "/subjects/:.c:a")
        assert await api.refused("DELETE", "/contexts/.c") == (422, 42211)
        await api("DELETE", "/subjects/:.c:a?permanent=true")
        for path in ("/contexts/.c", "/contexts/.c/", "/contexts/:.none:"):
            async with api.client.delete(path) as response:
                assert (response.status, await response.read()) == (204, b"")
        assert await api("GET", "/contexts") == (200, ["."])
        assert await api.refused("GET", "/config/:.c:") == (404, 40408)
        assert await api.refused("GET", "/mode/:.c:") == (404, 40409)
        assert await api.refused("DELETE", "/contexts/:.:") == (422, 42205)
        assert await api.refused("DELETE", "/contexts/c%20d") == (422, 42208)
        last = {one.key: one for one in log.records}
        log.records[:] = [one for one in log.records if last[one.key] is one and one.value is not None]

    serve(scenario, log)

    async def afterwards(api: Api) -> None:
        assert await api("GET", "/contexts") == (200, ["."])
        assert await api.register(":.c:b", TEXT) == (200, {"id": 2})
        assert await api("GET", "/contexts") == (200, [".", ".c"])

    serve(afterwards, log)


def test_a_context_into_which_somebody_registered_meanwhile_stays() -> None:
    log = MemoryLog()

    async def scenario(api: Api) -> None:
        await api.register(":.c:a", LONG)
        await log.append(ContextKey(".c").encode(), None)  # by a registry that had not yet read the schema
        assert await api("GET", "/contexts") == (200, [".", ".c"])

    serve(scenario, log)


def test_deleting_a_subject_takes_back_what_was_set_for_it() -> None:
    async def scenario(api: Api) -> None:
        await api.register("s", LONG)
        await api("PUT", "/config/s", {"compatibility": "NONE"})
        await api("PUT", "/mode/s", {"mode": "READWRITE"})
        await api("DELETE", "/subjects/s")
        assert await api.refused("GET", "/config/s") == (404, 40408)
        assert await api.refused("GET", "/mode/s") == (404, 40409)

    serve(scenario)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/subjects?offset=1&limit=1", ["b"]),
        ("/subjects?limit=2", ["a", "b"]),
        ("/subjects?offset=-1&limit=x", ["a", "b", "c"]),
        ("/subjects/a/versions?offset=1", []),
        ("/schemas/ids/1/subjects?limit=1", ["a"]),
        ("/schemas/ids/1/versions?offset=2", [{"subject": "c", "version": 1}]),
    ],
)
def test_lists_are_cut_into_pages(path: str, found: object) -> None:
    async def scenario(api: Api) -> None:
        for subject in "abc":
            await api.register(subject, LONG)
        assert await api("GET", path) == (200, found)

    serve(scenario)

"""The REST API over a log in memory: answers, errors and bounds as Confluent's clients expect them."""

import json
from typing import Any

import pytest

from headrace import __version__
from headrace.schemas.envelope import ENVELOPE_JSON
from headrace.schemas.registry import Registry
from headrace.schemas.schema import Schema
from headrace.schemas.service import MAX_BODY_BYTES
from tests.unit.schemas.memory_log import MemoryLog
from tests.unit.schemas.rest_api import Api, serve

V1 = json.dumps({"type": "record", "name": "User", "fields": [{"name": "id", "type": "long"}]})
V2 = json.dumps(
    {"type": "record", "name": "User", "fields": [{"name": "id", "type": "long"}, {"name": "age", "type": "int", "default": 7}]}
)
V_BREAKING = json.dumps(
    {"type": "record", "name": "User", "fields": [{"name": "id", "type": "long"}, {"name": "age", "type": "int"}]}
)
COMPACT_V2 = json.dumps(json.loads(V2), separators=(",", ":"))


def test_registering_answers_an_id_and_every_look_up_finds_it() -> None:
    async def scenario(api: Api) -> None:
        assert await api.register("users-value", V1) == (200, {"id": 1})
        assert await api.register("users-value", V2) == (200, {"id": 2})
        described = {
            "subject": "users-value",
            "version": 2,
            "id": 2,
            "guid": Schema("AVRO", COMPACT_V2).guid,
            "schema": COMPACT_V2,
        }
        assert await api("GET", "/subjects/users-value/versions/latest") == (200, described)
        assert await api("GET", "/subjects/users-value/versions/-1") == (200, described)
        assert await api("GET", "/subjects/users-value/versions/2") == (200, described)
        assert await api("GET", "/subjects/users-value/versions/2/schema") == (200, json.loads(V2))
        assert await api("POST", "/subjects/users-value", {"schema": V2}) == (200, described)
        assert await api("GET", "/subjects/users-value/versions") == (200, [1, 2])
        assert await api("GET", "/subjects") == (200, ["users-value"])
        assert await api("GET", "/schemas/ids/2?subject=users-value&format=&fetchMaxId=true") == (
            200,
            {"schema": described["schema"], "guid": described["guid"], "maxId": 2},
        )
        assert await api("GET", "/schemas/ids/2/schema") == (200, json.loads(V2))
        assert await api("GET", "/schemas/ids/2/versions") == (200, [{"subject": "users-value", "version": 2}])
        assert await api("GET", "/schemas/ids/2/subjects") == (200, ["users-value"])
        assert await api("GET", "/schemas?latestOnly=true") == (200, [described])
        assert await api("GET", "/subjects/users-value/versions/2/referencedby") == (200, [])

    serve(scenario)


def test_a_schema_keeps_its_id_when_registered_again_elsewhere_or_spelt_otherwise() -> None:
    spelt = json.dumps({"fields": [{"type": {"type": "long"}, "name": "id"}], "name": "User", "type": "record"}, indent=3)

    async def scenario(api: Api) -> None:
        assert await api.register("a", V2) == (200, {"id": 1})
        assert await api.register("a-value", V1) == (200, {"id": 2})
        assert await api.register("a-value", V1) == (200, {"id": 2})
        assert await api.register("b-value", spelt) == (200, {"id": 2})
        assert await api("GET", "/subjects/a-value/versions") == (200, [1])
        assert await api("GET", "/schemas/ids/2/subjects") == (200, ["a-value", "b-value"])

    serve(scenario)


def test_a_schema_with_another_doc_is_another_schema() -> None:
    async def scenario(api: Api) -> None:
        await api.register("a", V1)
        assert await api.register("a", json.dumps({**json.loads(V1), "doc": "people"})) == (200, {"id": 2})

    serve(scenario)


def test_the_envelope_is_registered() -> None:
    async def scenario(api: Api) -> None:
        assert await api.register("logs-value", ENVELOPE_JSON) == (200, {"id": 1})

    serve(scenario)


def test_backward_is_the_default_and_a_breaking_schema_is_refused_with_the_reason() -> None:
    async def scenario(api: Api) -> None:
        await api.register("s", V1)
        status, body = await api.register("s", V_BREAKING)
        assert (status, body["error_code"]) == (409, 409)
        assert "age" in body["message"]
        assert await api("GET", "/subjects/s/versions") == (200, [1])
        check = "/compatibility/subjects/s/versions"
        assert await api("POST", f"{check}/latest", {"schema": V2}) == (200, {"is_compatible": True})
        status, body = await api("POST", f"{check}/1?verbose=true", {"schema": V_BREAKING})
        assert (status, body["is_compatible"]) == (200, False)
        assert "age" in body["messages"][0]
        assert await api("POST", check, {"schema": V_BREAKING}) == (200, {"is_compatible": False})

    serve(scenario)


@pytest.mark.parametrize(
    ("level", "first", "second", "accepted"),
    [
        ("NONE", V1, '"string"', True),
        ("BACKWARD", V2, V1, True),
        ("FORWARD", V1, V_BREAKING, True),
        ("FORWARD", V_BREAKING, V1, False),
        ("FULL", V1, V2, True),
        ("FULL", V1, V_BREAKING, False),
    ],
)
def test_a_level_decides_which_schema_may_follow(level: str, first: str, second: str, accepted: bool) -> None:
    async def scenario(api: Api) -> None:
        assert await api("PUT", "/config/s", {"compatibility": level.lower()}) == (200, {"compatibility": level})
        await api.register("s", first)
        status, _ = await api.register("s", second)
        assert status == (200 if accepted else 409)

    serve(scenario)


def test_only_a_transitive_level_looks_beyond_the_last_version() -> None:
    without_default = json.dumps({"type": "record", "name": "U", "fields": [{"name": "b", "type": "int"}]})
    with_default = json.dumps({"type": "record", "name": "U", "fields": [{"name": "b", "type": "int", "default": 1}]})
    empty = json.dumps({"type": "record", "name": "U", "fields": []})

    async def scenario(api: Api) -> None:
        for subject, level, status in (("near", "BACKWARD", 200), ("far", "BACKWARD_TRANSITIVE", 409)):
            await api("PUT", f"/config/{subject}", {"compatibility": level})
            assert (await api.register(subject, empty))[0] == 200
            assert (await api.register(subject, with_default))[0] == 200
            assert (await api.register(subject, without_default))[0] == status

    serve(scenario)


def test_levels_are_set_read_and_taken_back() -> None:
    async def scenario(api: Api) -> None:
        assert await api("GET", "/config") == (200, {"compatibilityLevel": "BACKWARD"})
        assert await api("PUT", "/config", {"compatibility": "FULL"}) == (200, {"compatibility": "FULL"})
        assert await api("GET", "/config") == (200, {"compatibilityLevel": "FULL"})
        status, body = await api("GET", "/config/s")
        assert (status, body["error_code"]) == (404, 40408)
        assert await api("GET", "/config/s?defaultToGlobal=true") == (200, {"compatibilityLevel": "FULL"})
        await api("PUT", "/config/s", {"compatibility": "NONE"})
        assert await api("DELETE", "/config/s") == (200, {"compatibilityLevel": "NONE"})
        assert (await api("GET", "/config/s"))[0] == 404
        status, body = await api("PUT", "/config", {"compatibility": "SIDEWAYS"})
        assert (status, body["error_code"]) == (422, 42203)

    serve(scenario)


def test_deletion_is_soft_and_the_id_still_answers() -> None:
    async def scenario(api: Api) -> None:
        await api.register("s", V1)
        await api.register("s", V2)
        assert await api("DELETE", "/subjects/s/versions/1") == (200, 1)
        assert await api("GET", "/subjects/s/versions") == (200, [2])
        assert await api("GET", "/subjects/s/versions?deleted=true") == (200, [1, 2])
        assert (await api("GET", "/subjects/s/versions/1"))[1]["error_code"] == 40402
        assert await api("DELETE", "/subjects/s") == (200, [2])
        assert (await api("GET", "/subjects/s/versions/latest"))[1]["error_code"] == 40401
        assert await api("GET", "/subjects") == (200, [])
        assert await api("GET", "/subjects?deleted=true") == (200, ["s"])
        assert (await api("GET", "/schemas/ids/1"))[0] == 200
        assert await api("GET", "/schemas/ids/1/versions") == (200, [])
        assert await api.register("s", V1) == (200, {"id": 1})
        assert await api("GET", "/subjects/s/versions") == (200, [3])

    serve(scenario)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"schema": '{"type":"recor"}'}, "Invalid schema"),
        ({"schema": "{"}, "Invalid schema"),
        ({"schema": ""}, "Empty schema"),
        ({}, "Empty schema"),
        ({"schema": '["int","int"]'}, "Union"),
        ({"schema": '{"type":"record","name":"R","fields":[{"name":"a","type":"int","default":"x"}]}'}, "Default"),
        ({"schema": "{}", "schemaType": "XML"}, "schemaType XML is not supported"),
        (
            {"schema": V1, "references": [{"name": "a", "subject": "b", "version": 1}]},
            'No schema reference found for subject "b" and version 1',
        ),
        ({"schema": V1, "metadata": 7}, "metadata"),
        ({"schema": "[" * 5000 + "]" * 5000}, "Invalid schema"),
    ],
)
def test_what_is_no_schema_is_refused_with_42201(body: dict[str, Any], says: str) -> None:
    async def scenario(api: Api) -> None:
        looked_up = [] if says == "Empty schema" else ["/subjects/s"]  # of which there is none
        for path in ("/subjects/s/versions", "/compatibility/subjects/s/versions/latest", *looked_up):
            status, answer = await api("POST", path, body)
            assert (status, answer["error_code"]) == (422, 42201)
            assert says in answer["message"]
        assert await api("GET", "/subjects") == (200, [])

    serve(scenario)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/subjects/none/versions", 404, 40401),
        ("GET", "/subjects/none/versions/latest", 404, 40401),
        ("GET", "/subjects/s/versions/9", 404, 40402),
        ("GET", "/subjects/s/versions/0", 422, 42202),
        ("GET", "/subjects/s/versions/-2", 422, 42202),
        ("GET", "/subjects/s/versions/99999999999999999999", 422, 42202),
        ("GET", "/subjects/s/versions/newest", 422, 42202),
        ("GET", "/schemas/ids/99", 404, 40403),
        ("GET", "/schemas/ids/x", 404, 404),
        ("GET", "/schemas/ids/2147483648", 404, 404),
        ("DELETE", "/subjects/none", 404, 40401),
        ("GET", "/nothing/here", 404, 404),
        ("PUT", "/subjects", 405, 405),
        ("GET", "/subjects/a%0Ab/versions", 422, 42208),
        ("GET", "/subjects/%ff/versions", 404, 40401),
        ("GET", f"/subjects/{'a' * 2000}/versions", 422, 42208),
    ],
)
def test_what_is_not_there_is_refused_with_its_own_code(method: str, path: str, status: int, code: int) -> None:
    async def scenario(api: Api) -> None:
        await api.register("s", V1)
        found, body = await api(method, path)
        assert (found, body["error_code"]) == (status, code)
        assert body["message"]

    serve(scenario)


def test_a_path_says_what_may_be_asked_of_it() -> None:
    async def scenario(api: Api) -> None:
        for path, allowed in (
            ("/subjects", "GET,HEAD"),
            ("/subjects/s/versions/", "GET,HEAD,POST"),
            ("/config", "DELETE,GET,HEAD,PUT"),
        ):
            async with api.client.options(path) as response:
                assert (response.status, response.headers["Allow"]) == (200, f"{allowed},OPTIONS")
            async with api.client.patch(path) as response:
                assert (response.status, response.headers["Allow"]) == (405, f"{allowed},OPTIONS")
        async with api.client.options("/nothing") as response:
            assert response.status == 404

    serve(scenario)


def test_what_is_wrong_is_said_in_confluents_words() -> None:
    async def scenario(api: Api) -> None:
        levels = "none, backward, forward, full, backward_transitive, forward_transitive, and full_transitive"
        for method, path, body, message in (
            ("PUT", "/config", {"compatibility": "EVER"}, f"Invalid compatibility level. Valid values are {levels}"),
            ("GET", "/subjects/a%0Ab/versions", None, "The specified subject 'a\nb' is not a valid."),
            ("GET", "/subjects/s/versions/x", None,
             "The specified version 'x' is not a valid version id. Allowed values are between [1, 2^31-1] and the string"),
        ):  # fmt: skip
            assert (await api(method, path, body))[1]["message"].startswith(message)

    serve(scenario)


@pytest.mark.parametrize("references", [1, "foo", False, {"a": True}, [7], [{"name": "a", "subject": "b", "version": "1"}]])
def test_references_that_are_none_make_a_bad_request(references: object) -> None:
    async def scenario(api: Api) -> None:
        body = {"schema": V1, "references": references}
        assert await api.refused("POST", "/subjects/s/versions", body) == (400, 400)

    serve(scenario)


@pytest.mark.parametrize("namespace", ["foo-bar", "my-server.my-schema", "1st"])
def test_a_namespace_may_be_what_java_lets_it_be(namespace: str) -> None:
    text = f'{{"type":"record","name":"R","namespace":"{namespace}","fields":[{{"name":"next","type":["null","R"]}}]}}'

    async def scenario(api: Api) -> None:
        assert await api.register("s", text) == (200, {"id": 1})
        assert (await api("GET", "/schemas/ids/1"))[1]["schema"] == text
        other = f'{{"type":"record","name":"Q","fields":[{{"name":"r","type":"{namespace}.R"}}]}}'
        references = [{"name": f"{namespace}.R", "subject": "s", "version": 1}]
        assert await api.register("t", other, references=references) == (200, {"id": 2})

    serve(scenario)


def test_look_up_tells_an_unknown_subject_from_an_unknown_schema() -> None:
    async def scenario(api: Api) -> None:
        await api.register("s", V1)
        assert (await api("POST", "/subjects/s", {"schema": V2}))[1]["error_code"] == 40403
        assert (await api("POST", "/subjects/t", {"schema": V1}))[1]["error_code"] == 40401
        assert (await api("POST", "/subjects/t", {}))[1]["error_code"] == 40401
        assert (await api("POST", "/subjects/s", {}))[1]["error_code"] == 42201

    serve(scenario)


def test_whoever_asks_for_deleted_versions_too_is_told_which_are() -> None:
    async def scenario(api: Api) -> None:
        await api.register("s", V1)
        path = "/subjects/s/versions/1?deleted=true"
        assert "deleted" not in (await api("GET", "/subjects/s/versions/1"))[1]
        assert (await api("GET", path))[1]["deleted"] is False
        await api("DELETE", "/subjects/s/versions/1")
        assert (await api("GET", path))[1]["deleted"] is True

    serve(scenario)


def test_a_registry_says_which_it_is() -> None:
    async def scenario(api: Api) -> None:
        clusters = {"kafka-cluster": "memory", "schema-registry-cluster": "schema-registry"}
        assert await api("GET", "/v1/metadata/id") == (200, {"scope": {"path": [], "clusters": clusters}, "id": ""})
        assert (await api("GET", "/v1/metadata/version"))[1]["version"] == __version__
        api.log.failing = True
        assert await api.refused("GET", "/v1/metadata/id") == (503, 50301)

    serve(scenario)


def test_a_body_that_is_too_large_or_no_json_object_is_refused() -> None:
    async def scenario(api: Api) -> None:
        status, body = await api("POST", "/subjects/s/versions", data=b"x" * (MAX_BODY_BYTES + 1))
        assert (status, body["error_code"]) == (413, 413)
        for data in (b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000):
            status, body = await api("POST", "/subjects/s/versions", data=data)
            assert (status, body["error_code"]) == (400, 400)

    serve(scenario)


def test_subjects_may_hold_slashes_and_letters_of_any_script() -> None:
    async def scenario(api: Api) -> None:
        for quoted, subject in (("a%2Fb-value", "a/b-value"), ("na%C3%AFve-value", "naïve-value")):
            assert (await api.register(quoted, V1))[0] == 200
            assert (await api("GET", f"/subjects/{quoted}/versions/1"))[1]["subject"] == subject

    serve(scenario)


def test_chosen_ids_are_refused() -> None:
    async def scenario(api: Api) -> None:
        status, body = await api("POST", "/subjects/s/versions", {"schema": V1, "id": 77, "version": 3})
        assert (status, body["error_code"]) == (422, 42205)

    serve(scenario)


def test_before_the_log_is_read_to_its_end_the_answer_is_503() -> None:
    async def scenario(api: Api) -> None:
        status, body = await api("GET", "/subjects")
        assert (status, body["error_code"]) == (503, 50301)
        async with api.client.get("/healthz") as response:
            assert response.status == 200
        async with api.client.get("/readyz") as response:
            assert response.status == 503

    serve(scenario, follow=False)


def test_once_the_log_is_read_it_is_ready() -> None:
    async def scenario(api: Api) -> None:
        async with api.client.get("/readyz") as response:
            assert (response.status, await response.text()) == (200, "ok\n")

    serve(scenario)


def test_when_the_log_refuses_a_change_is_an_error_and_what_is_known_is_still_served() -> None:
    async def scenario(api: Api) -> None:
        await api.register("s", V1)
        api.log.failing = True
        status, body = await api.register("s", V2)
        assert (status, body["error_code"]) == (500, 50001)
        assert (await api.register("s", V1)) == (200, {"id": 1})
        assert (await api("GET", "/schemas/ids/1"))[0] == 200
        assert (await api("GET", "/schemas/ids/2"))[0] == 503  # another registry may have given it
        api.log.failing = False
        assert (await api("GET", "/schemas/ids/2"))[0] == 404
        assert await api.register("s", V2) == (200, {"id": 2})

    serve(scenario)


def test_what_another_registry_registered_a_moment_ago_is_found() -> None:
    log = MemoryLog(held=True)

    async def scenario(api: Api) -> None:
        other = Registry(log)
        log.follow(other)
        await log.append(*_record(V1))
        assert (await api("GET", "/schemas/ids/1"))[0] == 200

    serve(scenario, log)


def _record(schema: str) -> tuple[bytes, bytes]:
    value = {"subject": "s", "version": 1, "id": 1, "schema": schema, "deleted": False}
    return b'{"keytype":"SCHEMA","subject":"s","version":1,"magic":1}', json.dumps(value).encode()

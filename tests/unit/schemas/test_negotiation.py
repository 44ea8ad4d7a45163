"""Media types as Confluent's registry and Karapace have them, paths that end with a slash, and answers without spaces."""

import pytest

from headrace.schemas.negotiation import preferred
from tests.unit.schemas.rest_api import CONTENT_TYPE, Api, serve

DEFAULT, JSON = "application/vnd.schemaregistry+json", "application/json"


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", CONTENT_TYPE),
        ("*/*", CONTENT_TYPE),
        ("*", CONTENT_TYPE),
        ("*/whatever", CONTENT_TYPE),
        ("application/*", CONTENT_TYPE),
        (JSON, JSON),
        (f"{CONTENT_TYPE}, {DEFAULT}, {JSON}", CONTENT_TYPE),
        (f"{CONTENT_TYPE};q=0.2, {JSON};q=0.9", JSON),
        (f"application/vnd.schemaregistry.v2+json; q=0.1, {DEFAULT}; q=0.9", DEFAULT),
        ("text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", CONTENT_TYPE),
        (f"{JSON}; charset=utf-8", JSON),
        ("text/*", None),
        ("text/html", None),
        (f"{JSON};q=0", None),
        (f"{JSON};q=much", None),
        ("application/vnd.schemaregistry.v2+json", None),
        (", ,", CONTENT_TYPE),
        ("/", None),
    ],
)
def test_the_type_with_the_greatest_weight_is_answered(accept: str, wanted: str | None) -> None:
    assert preferred(accept) == wanted


async def _asked(api: Api, method: str, path: str, **headers: str) -> tuple[int, str, str]:
    body = b'{"compatibility":"NONE"}' if method == "PUT" else None
    async with api.client.request(method, path, data=body, headers=headers) as response:
        return response.status, response.headers["Content-Type"], await response.text()


def test_answers_have_the_type_that_was_asked_for() -> None:
    async def scenario(api: Api) -> None:
        assert await _asked(api, "GET", "/subjects") == (200, CONTENT_TYPE, "[]")
        assert await _asked(api, "GET", "/subjects", Accept=JSON) == (200, JSON, "[]")
        unacceptable = '{"error_code":406,"message":"HTTP 406 Not Acceptable"}'
        assert await _asked(api, "GET", "/subjects", Accept="text/html") == (406, CONTENT_TYPE, unacceptable)
        assert (await _asked(api, "GET", "/nowhere", Accept="text/html"))[0] == 404
        assert (await _asked(api, "GET", "/healthz", Accept="text/html"))[0] == 200

    serve(scenario)


def test_bodies_are_read_in_the_types_of_a_registry_alone() -> None:
    async def scenario(api: Api) -> None:
        for kind in (CONTENT_TYPE, DEFAULT, JSON, "application/octet-stream", f"{CONTENT_TYPE}; charset=utf-8"):
            found = await _asked(api, "PUT", "/config/a", **{"Content-Type": kind})
            assert found == (200, CONTENT_TYPE, '{"compatibility":"NONE"}'), kind
        for kind in ("text/html", "application/x-www-form-urlencoded", "application/xml"):
            status, _, text = await _asked(api, "PUT", "/config/a", **{"Content-Type": kind})
            assert (status, text) == (415, '{"error_code":415,"message":"HTTP 415 Unsupported Media Type"}'), kind

    serve(scenario)


def test_bodies_may_be_in_utf_16() -> None:
    async def scenario(api: Api) -> None:
        body, headers = '{"compatibility":"FULL"}'.encode("utf-16"), {"Content-Type": f"{CONTENT_TYPE}; charset=utf-16"}
        async with api.client.put("/config", data=body, headers=headers) as response:
            assert (response.status, await response.text()) == (200, '{"compatibility":"FULL"}')

    serve(scenario)


def test_paths_may_end_with_a_slash() -> None:
    async def scenario(api: Api) -> None:
        body = {"schema": '"string"'}
        for start in ("", "/contexts/.c"):
            assert await api("POST", f"{start}/subjects/a/versions/", body) == (200, {"id": 1})
            for path in (
                "/subjects/",
                "/subjects/a/versions/",
                "/subjects/a/versions/1/",
                "/schemas/ids/1/",
                "/config/",
                "/mode/",
            ):
                assert await api("GET", start + path) == await api("GET", start + path.rstrip("/"))
            assert (await api("POST", f"{start}/subjects/a/", body))[1]["version"] == 1
            assert await api("DELETE", f"{start}/subjects/a/") == (200, [1])
        assert (await api("GET", "/subjects//"))[0] == 404

    serve(scenario)

"""What the test suites of Confluent's registry, and answers recorded of it, expect of any registry, in words of our own.

Read for it: its RestApiTest, RestApiCompatibilityTest, RestApiModeTest and RestApiContextTest (8.x); answers of version 7.9.
Where ours differs on purpose, ADR 0032 says so.
"""

import json
from typing import Any

import pytest

from tests.unit.schemas.rest_api import Api, serve

TEXT, LONG, INT, BYTES = ('"string"', '"long"', '"int"', '"bytes"')


def record(*fields: str, name: str = "R") -> str:
    """A record of texts; a field `x=` has a default."""
    members = [{"name": one.rstrip("="), "type": "string", **({"default": ""} if one.endswith("=") else {})} for one in fields]
    return json.dumps({"type": "record", "name": name, "fields": members}, separators=(",", ":"))


def properties(**named: str) -> dict[str, Any]:
    return {"properties": dict(named)}


def rule(name: str, mode: str = "UPGRADE", **members: Any) -> dict[str, Any]:
    return {"name": name, "kind": "TRANSFORM", "mode": mode, "type": "type1", "disabled": False, **members}


def test_defaults_of_a_configuration_come_before_a_schemas_metadata_and_overrides_after() -> None:
    async def scenario(api: Api) -> None:
        config = {"defaultMetadata": properties(d="1"), "overrideMetadata": properties(o="1")}
        assert await api("PUT", "/config/s", config) == (200, config)
        assert (await api.register("s", TEXT))[1] == {
            "subject": "s", "id": 1, "version": 1, "schema": TEXT, "metadata": properties(d="1", o="1"),
        }  # fmt: skip
        assert (await api.register("s", TEXT, metadata=properties(d="2", o="2")))[1]["metadata"] == properties(d="2", o="1")
        assert (await api.register("s", TEXT))[1]["id"] == 2  # it got those of the last version
        assert (await api("POST", "/subjects/s", {"schema": TEXT}))[1]["version"] == 2
        await api("PUT", "/config/s", {"compatibility": "NONE"})
        found = (await api.register("s", LONG, metadata=properties(own="x")))[1]
        assert found["metadata"] == properties(d="1", o="1", own="x")

    serve(scenario)


def test_default_rules_are_merged_by_name_and_override_rules_win() -> None:
    async def scenario(api: Api) -> None:
        config = {"defaultRuleSet": {"migrationRules": [rule("foo"), rule("both")]}, "compatibility": "NONE"}
        await api("PUT", "/config", {**config, "overrideRuleSet": {"migrationRules": [rule("bar", doc="ours")]}})
        found = (await api.register("s", TEXT, ruleSet={"migrationRules": [rule("both", doc="own"), rule("bar")]}))[1]
        assert found["ruleSet"]["migrationRules"] == [rule("foo"), rule("both", doc="own"), rule("bar", doc="ours")]
        assert (await api.register("s", LONG))[1]["ruleSet"] == found["ruleSet"]
        assert [one["version"] for one in (await api("GET", "/schemas?ruleType=type1"))[1]] == [1, 2]
        assert await api("GET", "/schemas?ruleType=type2") == (200, [])

    serve(scenario)


@pytest.mark.parametrize(
    "rules",
    [
        {"migrationRules": [rule("foo", "READ")]},
        {"domainRules": [rule("foo", "READ"), rule("foo", "READ")]},
        {"domainRules": [{"name": "foo", "mode": "READ"}]},
        {"domainRules": [rule("1 foo", "READ")]},
    ],
)
def test_rules_that_no_client_could_execute_are_refused(rules: Any) -> None:
    async def scenario(api: Api) -> None:
        assert await api.refused("POST", "/subjects/s/versions", {"schema": TEXT, "ruleSet": rules}) == (422, 42210)
        assert await api.refused("PUT", "/config", {"defaultRuleSet": rules}) == (422, 42210)

    serve(scenario)


def test_metadata_or_rules_alone_go_to_the_newest_schema() -> None:
    async def scenario(api: Api) -> None:
        assert await api.refused("POST", "/subjects/s/versions", {"metadata": properties(a="b")}) == (422, 42201)
        await api.register("s", TEXT)
        found = (await api("POST", "/subjects/s/versions", {"metadata": properties(k="v")}))[1]
        assert (found["id"], found["version"], found["schema"], found["metadata"]) == (2, 2, TEXT, properties(k="v"))
        rules = {"domainRules": [rule("foo", "READ")]}
        found = (await api("POST", "/subjects/s/versions", {"ruleSet": rules}))[1]
        assert (found["version"], found["metadata"], found["ruleSet"]) == (3, properties(k="v"), rules)

    serve(scenario)


def test_versions_are_compared_and_set_and_counted_in_metadata() -> None:
    async def scenario(api: Api) -> None:
        async def registered(**members: Any) -> int:
            return int((await api.register("s", TEXT, **members))[1]["id"])

        def counted(number: int) -> dict[str, Any]:
            return {"properties": {"confluent:version": str(number)}}

        async def found(**members: Any) -> int:
            return int((await api("POST", "/subjects/s", {"schema": TEXT, **members}))[1]["version"])

        assert await registered() == 1
        assert await registered(version=-1) == 1  # the newest says the same
        assert await api.refused("POST", "/subjects/s/versions", {"schema": TEXT, "version": 1}) == (422, 42201)
        assert await registered(version=2) == 2
        assert (await api("GET", "/subjects/s/versions/2"))[1]["metadata"] == counted(2)
        assert [await found(), await found(metadata=counted(1)), await found(metadata=counted(2))] == [1, 1, 2]
        await api("DELETE", "/subjects/s/versions/1")
        assert await found() == 2
        assert await registered(version=-1) == 2
        assert await api.refused("POST", "/subjects/s/versions", {"schema": TEXT, "version": 5}) == (422, 42201)
        assert await registered(version=3) == 3
        assert await registered(metadata=counted(-1)) == 4
        assert (await api("GET", "/subjects/s/versions/4"))[1]["metadata"] == counted(4)
        assert await registered(metadata=counted(2)) == 2
        assert await registered(metadata={}) == 4
        assert await registered(metadata=properties(mykey="x")) == 5
        assert "confluent:version" not in (await api("GET", "/subjects/s/versions/5"))[1]["metadata"]["properties"]

    serve(scenario)


def test_an_alias_stands_for_its_subject_wherever_a_subject_is_named() -> None:
    async def scenario(api: Api) -> None:
        await api.register("target", record("a"))
        await api("PUT", "/config/alias", {"alias": "target"})
        assert (await api("GET", "/subjects/alias/versions/1"))[1]["subject"] == "target"
        assert (await api.register("alias", record("a", "b=")))[1]["id"] == 2
        assert await api("GET", "/subjects/alias/versions") == (200, [1, 2])
        assert (await api("POST", "/subjects/alias", {"schema": record("a")}))[1]["version"] == 1
        assert (await api("POST", "/compatibility/subjects/alias/versions", {"schema": LONG}))[1] == {"is_compatible": False}
        assert (await api("GET", "/schemas/ids/1?subject=alias"))[0] == 200
        assert (await api("GET", "/config/alias"))[1]["alias"] == "target"  # settings are its own
        assert await api.refused("GET", "/mode/target") == (404, 40409)
        await api("PUT", "/config/chain", {"alias": "alias"})
        assert await api.refused("GET", "/subjects/chain/versions") == (404, 40401)
        await api("PUT", "/config/:.c:other", {"alias": "there"})  # in the context of the alias, if it says none
        await api.register(":.c:there", TEXT)
        assert await api("GET", "/contexts/.c/subjects/other/versions") == (200, [1])
        await api("PUT", "/config", {"alias": "nobody"})
        assert (await api("GET", "/subjects/target/versions"))[0] == 200

    serve(scenario)


def test_schemas_are_listed_with_their_aliases() -> None:
    async def scenario(api: Api) -> None:
        await api.register("target", TEXT)
        await api.register("other", TEXT)
        for alias in ("alias1", "alias2"):
            await api("PUT", f"/config/{alias}", {"alias": "target"})
        assert await api("GET", "/schemas?subjectPrefix=alias") == (200, [])
        [found] = (await api("GET", "/schemas?subjectPrefix=alias&aliases=true"))[1]
        assert (found["subject"], found["aliases"]) == ("target", ["alias1", "alias2"])
        everything = (await api("GET", "/schemas?aliases=true"))[1]
        assert [(one["subject"], one.get("aliases")) for one in everything] == [
            ("other", None),
            ("target", ["alias1", "alias2"]),
        ]

    serve(scenario)


def test_reserved_fields_are_kept_free_where_fields_are_validated() -> None:
    async def scenario(api: Api) -> None:
        body = {"schema": record("f", "g"), "metadata": {"properties": {"confluent:reserved": "f, x"}}}
        await api("PUT", "/config", {"validateFields": True})
        status, answer = await api("POST", "/subjects/s/versions", body)
        assert (status, "reserved field f." in answer["message"]) == (409, True)
        await api("PUT", "/config/s", {"validateFields": False})
        assert (await api("POST", "/subjects/s/versions", body))[0] == 200
        await api("PUT", "/config/s", {"validateFields": True, "compatibility": "NONE"})
        fewer = {"schema": record("g"), "metadata": {"properties": {"confluent:reserved": "x"}}}
        status, answer = await api("POST", "/subjects/s/versions", fewer)
        assert (status, "has reserved field f removed" in answer["message"]) == (409, True)
        own = json.dumps({"type": "object", "properties": {"$$own": {}}})
        assert await api.refused("POST", "/subjects/j/versions", {"schema": own, "schemaType": "JSON"}) == (422, 42201)

    serve(scenario)


def test_a_lenient_policy_takes_open_json_schemas_for_closed() -> None:
    def thing(**named: str) -> dict[str, str]:
        tree = {"type": "object", "properties": {name: {"type": kind} for name, kind in named.items()}}
        return {"schema": json.dumps(tree), "schemaType": "JSON"}

    async def scenario(api: Api) -> None:
        assert (await api("POST", "/subjects/s/versions", thing(a="string")))[0] == 200
        assert await api.refused("POST", "/subjects/s/versions", thing(a="string", b="string")) == (409, 409)
        await api("PUT", "/config/s", {"compatibilityPolicy": "lenient"})
        assert (await api("POST", "/subjects/s/versions", thing(a="string", b="string")))[0] == 200
        assert await api.refused("POST", "/subjects/s/versions", thing(a="integer")) == (409, 409)

    serve(scenario)


def test_the_narrowest_configuration_counts_whole() -> None:
    async def scenario(api: Api) -> None:
        await api("PUT", "/config", {"compatibility": "NONE", "normalize": True})
        assert await api("GET", "/config/s?defaultToGlobal=true") == (200, {"compatibilityLevel": "NONE", "normalize": True})
        assert (await api("GET", "/config/:.c:s?defaultToGlobal=true"))[1] == {"compatibilityLevel": "BACKWARD"}
        await api("PUT", "/config/:.c:", {"compatibility": "FORWARD"})
        assert (await api("GET", "/config/:.c:s?defaultToGlobal=true"))[1] == {"compatibilityLevel": "FORWARD"}
        await api("PUT", "/config/:.c:s", {"normalize": True})
        assert (await api("GET", "/config/:.c:s"))[1] == {"compatibilityLevel": "BACKWARD", "normalize": True}
        assert (await api("GET", "/config/:.:"))[1] == {
            "compatibilityLevel": "NONE",
            "normalize": True,
        }  # the default context's
        await api("PUT", "/config/:.__GLOBAL:", {"compatibility": "FULL"})
        assert (await api("GET", "/config/:.d:s?defaultToGlobal=true"))[1] == {"compatibilityLevel": "FULL"}
        assert await api.refused("POST", "/subjects/:.__GLOBAL:s/versions", {"schema": TEXT}) == (422, 42208)

    serve(scenario)


def test_modes_of_contexts_and_of_all() -> None:
    async def scenario(api: Api) -> None:
        await api("PUT", "/mode", {"mode": "READONLY"})
        assert await api.refused("POST", "/subjects/s/versions", {"schema": TEXT}) == (422, 42205)
        assert (await api.register(":.c:s", TEXT))[0] == 200  # another context is not the default one
        await api("PUT", "/mode", {"mode": "READONLY_OVERRIDE"})
        assert await api("GET", "/mode/:.c:s") == (200, {"mode": "READONLY_OVERRIDE"})
        assert await api.refused("POST", "/subjects/:.c:s/versions", {"schema": LONG}) == (422, 42205)
        assert await api("PUT", "/mode", {"mode": None}) == (200, {"mode": None})
        assert await api("GET", "/mode") == (200, {"mode": "READWRITE"})
        for scope in (":.c:", ":.c:s", ":.c:t", "s"):
            await api("PUT", f"/mode/{scope}", {"mode": "readonly"})
        assert await api("DELETE", "/mode/:.c:?recursive=true") == (200, {"mode": "READONLY"})
        assert await api.refused("GET", "/mode/:.c:t") == (404, 40409)
        assert await api("GET", "/mode/s") == (200, {"mode": "READONLY"})
        await api("PUT", "/mode/:.__GLOBAL:", {"mode": "READONLY"})
        assert await api("GET", "/mode?defaultToGlobal=true") == (200, {"mode": "READONLY"})

    serve(scenario)


def test_import_makes_room_and_gives_a_schema_another_id() -> None:
    async def scenario(api: Api) -> None:
        await api.register("s", TEXT)
        assert await api.refused("PUT", "/mode/s", {"mode": "IMPORT"}) == (422, 42205)
        await api("DELETE", "/subjects/s")
        assert await api("PUT", "/mode/s", {"mode": "IMPORT"}) == (200, {"mode": "IMPORT"})
        assert await api.refused("GET", "/subjects/s/versions?deleted=true") == (404, 40401)
        assert await api.register("s", TEXT, id=2, version=1) == (200, {"id": 2})
        assert await api.register("s", TEXT, id=1, version=2) == (200, {"id": 1})
        assert await api.register("s", TEXT) == (200, {"id": 1})  # whoever does not choose finds what is there
        assert await api.refused("POST", "/subjects/s/versions", {"schema": LONG, "id": 1, "version": 3}) == (422, 42205)

    serve(scenario)


def test_a_name_without_context_is_read_wherever_it_is() -> None:
    async def scenario(api: Api) -> None:
        await api.register(":.x:a", TEXT)
        assert await api.refused("GET", "/subjects/a/versions") == (404, 40401)
        for version in ("1", "latest"):
            assert (await api("GET", f"/subjects/a/versions/{version}"))[1]["subject"] == ":.x:a"
        assert (await api("POST", "/subjects/a", {"schema": TEXT}))[1]["subject"] == ":.x:a"
        assert await api.refused("POST", "/subjects/a", {"schema": LONG}) == (404, 40401)
        assert await api.refused("GET", "/schemas/ids/1") == (404, 40403)
        assert (await api("GET", "/schemas/ids/1?subject=a"))[1]["schema"] == TEXT
        assert await api("GET", "/schemas/ids/1/versions?subject=a") == (200, [{"subject": ":.x:a", "version": 1}])
        await api.register("a", LONG)  # now it is there itself
        assert (await api("GET", "/subjects/a/versions/1"))[1]["subject"] == "a"
        assert await api("GET", "/contexts?contextPrefix=.x") == (200, [".x"])

    serve(scenario)


def test_references_are_live_when_they_are_registered_and_may_be_left_out_when_looked_up() -> None:
    dep, holder = record("v", name="Dep"), '{"type":"record","name":"H","fields":[{"name":"d","type":"Dep"}]}'
    whole = f'{{"type":"record","name":"H","fields":[{{"name":"d","type":{dep}}}]}}'
    references = [{"name": "Dep", "subject": "dep", "version": 1}]

    async def scenario(api: Api) -> None:
        await api.register(":.c:dep", dep)
        await api.register(":.c:h", holder, references=references)
        assert (await api("POST", "/subjects/:.c:h", {"schema": whole}))[1]["version"] == 1
        assert (await api.register(":.c:h", whole))[1]["id"] == 2
        plain = (await api("GET", "/subjects/:.c:h/versions/1"))[1]
        assert plain["references"] == references
        qualified = (await api("GET", "/subjects/:.c:h/versions/1?referenceFormat=qualified"))[1]
        assert qualified["references"][0]["subject"] == ":.c:dep"
        status, answer = await api("DELETE", "/subjects/:.c:dep")
        key = "{magic=1,keytype=SCHEMA,subject=:.c:dep,version=1}"
        assert (status, answer["message"]) == (422, f"One or more references exist to the schema {key}.")
        await api("DELETE", "/subjects/:.c:h")
        await api("DELETE", "/subjects/:.c:dep")
        assert await api.refused("POST", "/subjects/:.c:h/versions", {"schema": holder, "references": references}) == (
            422,
            42201,
        )

    serve(scenario)


def test_what_stands_against_a_schema_is_said_in_confluents_words() -> None:
    async def scenario(api: Api) -> None:
        await api.register("s", record("f1"))
        status, answer = await api.register("s", record("f1", "f2"))
        details = [
            "{errorType:'READER_FIELD_MISSING_DEFAULT_VALUE', description:'The field 'f2' at path '/fields/1' in the new "
            "schema has no default value and is missing in the old schema', additionalInfo:'f2'}",
            "{oldSchemaVersion: 1}",
            f"{{oldSchema: '{record('f1')}'}}",
            "{validateFields: 'false', compatibility: 'BACKWARD'}",
        ]
        head = 'Schema being registered is incompatible with an earlier schema for subject "s", details: '
        assert (status, answer) == (409, {"error_code": 409, "message": f"{head}[{', '.join(details)}]"})
        body = {"schema": record("f1", "f2")}
        found = await api("POST", "/compatibility/subjects/s/versions/latest?verbose=true", body)
        assert found == (200, {"is_compatible": False, "messages": details})
        number = json.dumps({"type": "record", "name": "R", "fields": [{"name": "f1", "type": "int"}]})
        said = (await api("POST", "/compatibility/subjects/s/versions?verbose=true", {"schema": number}))[1]["messages"][0]
        assert said == (
            "{errorType:'TYPE_MISMATCH', description:'The type (path '/fields/0/type') of a field in the new schema does not "
            "match with the old schema', additionalInfo:'reader type: INT not compatible with writer type: STRING'}"
        )
        other = {"schema": "{}", "schemaType": "JSON"}
        said = (await api("POST", "/compatibility/subjects/s/versions?verbose=true", other))[1]["messages"][0]
        assert said == "Incompatible because of different schema type"

    serve(scenario)


def test_compatibility_is_asked_of_subjects_that_are_not_there_and_of_what_is_no_schema() -> None:
    async def scenario(api: Api) -> None:
        for version in ("", "/latest"):
            assert (await api("POST", f"/compatibility/subjects/none/versions{version}", {"schema": TEXT}))[1]["is_compatible"]
        assert (await api("POST", "/compatibility/subjects/none/versions/1", {"schema": TEXT}))[0] == 404
        await api.register("s", TEXT)
        assert await api.refused("POST", "/compatibility/subjects/s/versions/latest", {"schema": "{"}) == (422, 42201)
        found = (await api("POST", "/compatibility/subjects/s/versions/latest?verbose=true", {"schema": "{"}))[1]
        assert not found["is_compatible"]
        assert "Invalid schema" in found["messages"][0]

    serve(scenario)


def test_what_was_set_for_a_subject_goes_with_its_last_version() -> None:
    async def scenario(api: Api) -> None:
        await api("PUT", "/config/s", {"compatibility": "FULL"})
        await api.register("s", TEXT)
        await api("DELETE", "/subjects/s/versions/latest")
        assert await api.refused("GET", "/config/s") == (404, 40408)
        status, answer = await api("DELETE", "/subjects/s")
        assert (status, answer["message"]) == (404, "Subject 's' was soft deleted.Set permanent=true to delete permanently")

    serve(scenario)

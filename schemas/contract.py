"""Metadata and rules that go with a schema: their one form, how they are merged, what a hash of them is made of. Pure.

Clients execute them; the registry keeps them in one form, puts those of a configuration before and after those of a schema, and
counts versions in `confluent:version` where somebody asks for that.
Source: Confluent Schema Registry, entities Metadata, RuleSet and Rule; `maybeSetMetadataRuleSet`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from headrace.schemas.invalid import InvalidSchemaError

Metadata = Mapping[str, Any]
RuleSet = Mapping[str, Any]
Contract = tuple[Metadata | None, RuleSet | None]
COUNTED: Final = "confluent:version"
_RESERVED: Final = "confluent:reserved"
_MODES: Final = {
    "migrationRules": ("UPGRADE", "DOWNGRADE", "UPDOWN"),
    "domainRules": ("WRITE", "READ", "WRITEREAD"),
    "encodingRules": ("WRITE", "READ", "WRITEREAD"),
}
_KINDS: Final = ("CONDITION", "TRANSFORM")
_TEXTS: Final = ("name", "doc", "type", "expr", "onSuccess", "onFailure")
_OF_RULES: Final = ("name", "doc", "kind", "mode", "type", "tags", "params", "expr", "onSuccess", "onFailure")
_MOST_RULES: Final = 1_000


class InvalidRulesError(InvalidSchemaError):
    """Rules that no client could execute; the message says which."""


def metadata_of(found: Any) -> Metadata | None:
    """Metadata as it is stored: known members in order, names sorted, empty ones left out; numbers in properties are texts.

    Raises:
        InvalidSchemaError: it is none.
    """
    if found is None:
        return None
    if not isinstance(found, dict):
        raise InvalidSchemaError("metadata is no object")
    members = {
        "tags": {name: _names(one, f"metadata.tags.{name}") for name, one in _items(found, "tags", "metadata.")},
        "properties": {
            name: _text(one, f"metadata.properties.{name}") for name, one in _items(found, "properties", "metadata.")
        },
        "sensitive": _names(found.get("sensitive"), "metadata.sensitive"),
    }
    return {name: value for name, value in members.items() if value}


def rules_of(found: Any) -> RuleSet | None:
    """A set of rules as it is stored.

    Raises:
        InvalidSchemaError: it is none.
        InvalidRulesError: a rule has no name, a name that another has, no type, or is of another mode than its list.
    """
    if found is None:
        return None
    if not isinstance(found, dict):
        raise InvalidSchemaError("ruleSet is no object")
    members = {}
    for where, modes in _MODES.items():
        rules = found.get(where)
        if not isinstance(rules, list | None) or len(rules or ()) > _MOST_RULES:
            raise InvalidSchemaError(f"ruleSet.{where} is no list of at most {_MOST_RULES} rules")
        members[where] = [_rule(one, where, modes) for one in rules or ()]
        names = [one["name"] for one in members[where]]
        if len(set(names)) < len(names):
            raise InvalidRulesError(f"Found rule with duplicate name in {where}: {', '.join(names)[:200]}")
    return {name: value for name, value in members.items() if value}


def _rule(found: Any, where: str, modes: Sequence[str]) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise InvalidSchemaError(f"ruleSet.{where} has a rule that is no object")
    rule: dict[str, Any] = {
        name: _text(found[name], f"ruleSet.{where}.{name}") for name in _TEXTS if found.get(name) is not None
    }
    rule["kind"], rule["mode"] = found.get("kind") or "TRANSFORM", found.get("mode") or "WRITEREAD"
    rule["tags"] = _names(found.get("tags"), f"ruleSet.{where}.tags")
    rule["params"] = {name: _text(one, f"ruleSet.{where}.params.{name}") for name, one in _items(found, "params", f"{where}.")}
    if rule["kind"] not in _KINDS:
        raise InvalidSchemaError(f"ruleSet.{where}: kind is one of {', '.join(_KINDS)}")
    name = str(rule.get("name", ""))
    if not (name[:1].isalpha() or name[:1] == "_") or not all(one.isalnum() or one in "_-" for one in name):
        raise InvalidRulesError(f"Illegal rule name {name[:100]!r} in {where}: a letter, then letters, digits, `_` and `-`")
    if not rule.get("type"):
        raise InvalidRulesError(f"Missing rule type of {name} in {where}")
    if rule["mode"] not in modes:
        raise InvalidRulesError(f"Rule {name} in {where} can only be {', '.join(modes)}")
    return {**{name: rule[name] for name in _OF_RULES if rule.get(name)}, "disabled": found.get("disabled") in (True, "true")}


def _items(found: Mapping[str, Any], name: str, where: str) -> Iterator[tuple[str, Any]]:
    value = found.get(name)
    if not isinstance(value, dict | None):
        raise InvalidSchemaError(f"{where}{name} is no object")
    return iter(sorted((value or {}).items()))


def _names(value: Any, where: str) -> list[str]:
    if not isinstance(value, list | None):
        raise InvalidSchemaError(f"{where} is no list")
    return sorted({_text(one, where) for one in value or ()})


def _text(value: Any, where: str) -> str:
    if isinstance(value, bool):
        value = str(value).lower()
    if not isinstance(value, str | int | float):
        raise InvalidSchemaError(f"{where} is no text")
    text = str(value)
    try:
        text.encode()
    except UnicodeError:
        raise InvalidSchemaError(f"{where} has half of a surrogate pair") from None
    return text


def completed(own: Contract, last: Contract, config: Mapping[str, Any]) -> Contract:
    """What a new version gets: its own, else the last version's, between a configuration's defaults and its overrides."""
    metadata, rules = (mine if mine is not None else before for mine, before in zip(own, last, strict=True))
    return (
        merged_metadata(merged_metadata(config.get("defaultMetadata"), metadata), config.get("overrideMetadata")),
        merged_rules(merged_rules(config.get("defaultRuleSet"), rules), config.get("overrideRuleSet")),
    )


def merged_metadata(old: Metadata | None, new: Metadata | None) -> Metadata | None:
    """Both; what has the same name is the new one's."""
    if old is None or new is None:
        return new if old is None else old
    merged: dict[str, Any] = {name: {**old.get(name, {}), **new.get(name, {})} for name in ("tags", "properties")}
    return metadata_of({**merged, "sensitive": [*old.get("sensitive", ()), *new.get("sensitive", ())]})


def merged_rules(old: RuleSet | None, new: RuleSet | None) -> RuleSet | None:
    """Both; of two rules of one name in one list the new one, in its place at the end."""
    if old is None or new is None:
        return new if old is None else old
    merged = {}
    for where in _MODES:
        names = {one["name"] for one in new.get(where, ())}
        merged[where] = [one for one in old.get(where, ()) if one["name"] not in names] + list(new.get(where, ()))
    return {name: value for name, value in merged.items() if value}


def counted(metadata: Metadata | None, version: int) -> Metadata:
    """Metadata that says which version it is."""
    merged = merged_metadata(metadata, {"properties": {COUNTED: str(version)}})
    assert merged is not None
    return merged


def count_in(metadata: Metadata | None) -> str | None:
    """The version that metadata says it is, as it says it."""
    properties = (metadata or {}).get("properties")
    return properties.get(COUNTED) if isinstance(properties, Mapping) else None


def uncounted(metadata: Metadata | None) -> Metadata:
    """The same without its version."""
    properties = {name: value for name, value in (metadata or {}).get("properties", {}).items() if name != COUNTED}
    return {**{name: value for name, value in (metadata or {}).items() if name != "properties"},
            **({"properties": properties} if properties else {})}  # fmt: skip


def reserved_fields(metadata: Metadata | None) -> set[str]:
    """Names that no field of the schema may have, now or later."""
    properties = (metadata or {}).get("properties")
    names = properties.get(_RESERVED) if isinstance(properties, Mapping) else None
    return {one.strip() for one in names.split(",") if one.strip()} if isinstance(names, str) else set()


def rule_types(rules: RuleSet | None) -> set[Any]:
    """Of which types there are rules."""
    return {rule.get("type") for where in _MODES for rule in (rules or {}).get(where) or ()}


def hashed(metadata: Metadata | None, rules: RuleSet | None) -> Iterator[bytes]:
    """What of them goes into the MD5 that a schema's GUID is, in order."""
    for one, parts in ((metadata, _of_metadata), (rules, _of_rules)):
        if one is not None:
            yield b"\x01"  # so that nothing and an empty one differ
            yield from (part.encode("utf-8", "surrogatepass") for part in parts(one))


def _of_metadata(metadata: Metadata) -> Iterator[str]:
    for name in ("tags", "properties", "sensitive"):
        yield from _texts(metadata.get(name))


def _of_rules(rules: RuleSet) -> Iterator[str]:
    for where in _MODES:
        for rule in rules.get(where) or ():
            for name in _OF_RULES:
                yield from _texts(rule.get(name))
            if rule.get("disabled") is True:
                yield "\x01"


def _texts(value: Any) -> Iterator[str]:
    """Names before what they name, sorted."""
    if isinstance(value, Mapping):
        for name in sorted(value):
            yield name
            yield from _texts(value[name])
    elif isinstance(value, list):
        yield from sorted(map(str, value))
    elif value is not None:
        yield str(value)

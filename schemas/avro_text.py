"""How an Avro schema is written, as Java's `Schema.toString` writes it, so that a text has one MD5 in every registry. Pure.

Members come in Java's order, attributes that are none of Avro's after them in the order in which they were given; a plain type
without attributes is its name; a name is written in full only outside its namespace.
Source: Apache Avro for Java, `Schema.toJson`.
"""

from collections.abc import Mapping
from typing import Any, Final

Json = Any  # a tree of JSON
_PLAIN: Final = frozenset(("null", "boolean", "int", "long", "float", "double", "bytes", "string"))
_TYPES: Final = _PLAIN | {"record", "enum", "array", "map", "union", "fixed"}
_NAMED: Final = ("record", "error", "enum", "fixed")
_OF_SCHEMAS: Final = frozenset(("doc", "fields", "items", "name", "namespace", "size", "symbols", "values", "type", "aliases"))
_OF_FIELDS: Final = frozenset(("default", "doc", "name", "order", "type", "aliases"))


def written(tree: Json, definitions: Mapping[str, Json] | None = None) -> Json:
    """The tree as Java writes it; the schema is valid.

    Args:
        definitions: named types by full name that are written out where they are first used; others stay names.
    """
    return _Writer(dict(definitions or {})).schema(tree, None)


def definitions(tree: Json, space: str | None = None) -> dict[str, Json]:
    """The named types in a schema by full name, each with its namespace said."""
    found: dict[str, Json] = {}
    if isinstance(tree, list):
        for branch in tree:
            found |= definitions(branch, space)
    elif isinstance(tree, dict):
        kind = tree.get("type")
        if kind in _NAMED:
            name, space = _name(tree, space)
            found[_full(name, space)] = {**tree, "name": name, "namespace": space or ""}
        inner = (
            [field["type"] for field in tree.get("fields", ())]
            if kind in _NAMED
            else [kind, tree.get("items"), tree.get("values")]
        )
        for one in inner:
            found |= definitions(one, space)
    return found


class _Writer:
    def __init__(self, definitions: dict[str, Json]) -> None:
        self._definitions = definitions

    def schema(self, tree: Json, space: str | None) -> Json:
        """One schema inside a namespace (None is none)."""
        if isinstance(tree, list):
            return [self.schema(branch, space) for branch in tree]
        if isinstance(tree, str):
            return tree if tree in _PLAIN else self._reference(tree, space)
        kind = tree["type"]
        if not isinstance(kind, str):
            return self.schema(kind, space)  # what stands beside does not count
        if kind in _NAMED:
            return self._named(tree, kind, space)
        if kind in ("array", "map"):
            member = "items" if kind == "array" else "values"
            return {"type": kind, member: self.schema(tree[member], space), **_others(tree, _OF_SCHEMAS)}
        if kind not in _PLAIN:
            return self._reference(kind, space)
        attributes = _others(tree, _OF_SCHEMAS)
        return {"type": kind, **attributes} if attributes else kind

    def _reference(self, name: str, space: str | None) -> Json:
        full = name if "." in name else _full(name, space)
        if full not in self._definitions and name in self._definitions:
            full = name
        if full in self._definitions:
            return self.schema(self._definitions.pop(full), space)
        own, simple = full.rpartition(".")[::2]
        if own and (own != space or simple in _TYPES):
            return full
        return simple

    def _named(self, tree: Json, kind: str, outer: str | None) -> Json:
        name, space = _name(tree, outer)
        self._definitions.pop(_full(name, space), None)
        said: dict[str, Json] = {"type": kind, "name": name}
        if space != outer:
            said["namespace"] = space or ""
        if isinstance(tree.get("doc"), str):
            said["doc"] = tree["doc"]
        if kind == "enum":
            said |= {member: tree[member] for member in ("symbols", "default") if tree.get(member) is not None}
        elif kind == "fixed":
            said["size"] = tree["size"]
        else:
            said["fields"] = [self._field(field, space) for field in tree["fields"]]
        known = _OF_SCHEMAS | {"default"} if kind == "enum" else _OF_SCHEMAS
        return {**said, **_others(tree, known), **_aliases(tree.get("aliases"), space)}

    def _field(self, tree: Json, space: str | None) -> Json:
        said = {"name": tree["name"], "type": self.schema(tree["type"], space)}
        if isinstance(tree.get("doc"), str):
            said["doc"] = tree["doc"]
        if "default" in tree:
            said["default"] = tree["default"]
        order = str(tree.get("order", "ascending")).lower()
        if order != "ascending":
            said["order"] = order
        return {**said, **({"aliases": tree["aliases"]} if tree.get("aliases") else {}), **_others(tree, _OF_FIELDS)}


def _name(tree: Json, outer: str | None) -> tuple[str, str | None]:
    """Name and namespace of a named type that is defined inside a namespace."""
    if "." in tree["name"]:
        space, name = tree["name"].rpartition(".")[::2]
        return name, space or None
    return tree["name"], (tree["namespace"] or None) if isinstance(tree.get("namespace"), str) else outer


def _full(name: str, space: str | None) -> str:
    return f"{space}.{name}" if space else name


def _others(tree: Json, known: frozenset[str]) -> dict[str, Json]:
    return {name: value for name, value in tree.items() if name not in known}


def _aliases(aliases: Json, space: str | None) -> dict[str, Json]:
    """Those of a named type: each in full outside its namespace."""
    if not aliases:
        return {}
    prefix = f"{space}." if space else ""
    return {"aliases": [one.removeprefix(prefix) if "." not in one.removeprefix(prefix) else one for one in aliases]}

"""What a JSON Schema refuses of documents that another one allows. Pure.

The rules are those of Confluent's registry. A property may be added only where the old schema allowed no other by that name,
and removed only where the new one allows any: an open content model (`additionalProperties` is not said) may have held
anything.
Source: Confluent Schema Registry, JSON Schema compatibility (its tables of compatible changes).
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

_MOST_COMPARISONS: Final = 5_000
_MOST_REFS: Final = 50  # one that points to one that points …
_REPEATED_GROUP: Final = re.compile(r"\)[*+?{]")  # `(a|aa)+` alone takes for ever
_COMBINED: Final = ("allOf", "anyOf", "oneOf")
_CONDITION: Final = ("if", "then", "else")
_BY_KEYWORD: Final[Mapping[str, Sequence[str]]] = {
    "object": (
        "properties", "required", "additionalProperties", "patternProperties", "minProperties", "maxProperties", "dependencies",
        "dependentRequired", "dependentSchemas", "propertyNames",
    ),
    "array": ("items", "prefixItems", "additionalItems", "minItems", "maxItems", "uniqueItems", "contains"),
    "string": ("minLength", "maxLength", "pattern"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}  # fmt: skip
# keyword → whether a new value lets through all that the old one does
_LIMITS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    **dict.fromkeys(
        ("maxLength", "maximum", "exclusiveMaximum", "maxItems", "maxProperties", "maxContains"), lambda old, new: new >= old
    ),
    **dict.fromkeys(
        ("minLength", "minimum", "exclusiveMinimum", "minItems", "minProperties", "minContains"), lambda old, new: new <= old
    ),
    "multipleOf": lambda old, new: old % new == 0,
    "pattern": lambda old, new: old == new,
    "uniqueItems": lambda old, new: old or not new,
    "contains": lambda old, new: old == new,
    "propertyNames": lambda old, new: old == new,
}


@dataclass(frozen=True, slots=True)
class Node:
    """A place in a schema, and what its `$ref`s are looked up with."""

    tree: Any
    resolver: Any = field(repr=False)

    def at(self, tree: Any) -> "Node":
        return Node(tree, self.resolver)


@dataclass(frozen=True, slots=True)
class _Schema:
    """A node by what it says first: `all`, `any` or `one` of several, `not` one, `if`, `enum`, a type, anything, nothing."""

    kind: str
    node: Node
    parts: tuple[Node, ...] = ()


def differences(old: Node, new: Node, *, lenient: bool = False) -> list[str]:
    """What of the documents that `old` allows `new` may refuse, each with its place in `new` or `old`.

    Where it is `lenient`, properties that `old` did not name are taken not to have been there.
    """
    return list(dict.fromkeys(_Comparison(lenient).compare(old, new, "#")))


class _Comparison:
    def __init__(self, lenient: bool) -> None:
        self._lenient = lenient
        self._known: dict[tuple[int, int], list[str]] = {}
        self._kept: list[Node] = []  # so that no id of a tree comes again

    def compare(self, old: Node, new: Node, path: str) -> list[str]:
        """The differences of two nodes; what is being compared already counts as the same."""
        key = id(old.tree), id(new.tree)
        if key not in self._known:
            if len(self._known) >= _MOST_COMPARISONS:
                return [f"{path}: the schemas are too large to compare"]
            self._kept += (old, new)
            self._known[key] = []
            self._known[key] = self._compare(_schema(old), _schema(new), path)
        return self._known[key]

    def _compare(self, old: _Schema, new: _Schema, path: str) -> list[str]:
        if old.kind == "nothing" or new.kind == "anything":
            return []
        if bool(old.parts) != bool(new.parts) and self._partly(old, new, path):
            return []
        if old.parts and new.parts:
            return self._combined(old, new, path)
        if {old.kind, new.kind} == {"integer", "number"}:
            return [*self._limits(old, new, path)] if new.kind == "number" else [f"{path}: type changed from number to integer"]
        if old.kind != new.kind:
            return [f"{path}: type changed from {old.kind} to {new.kind}"]
        if old.kind == "enum":
            missing = [value for value in _values(old) if value not in _values(new)]
            return [f"{path}/enum: {str(missing)[:200]} was removed"] if missing else []
        if old.kind == "not":  # what the new one refuses, the old one must have refused
            return [f"{path}/not: {one}" for one in self.compare(new.node.at(_not(new)), old.node.at(_not(old)), "#")]
        if old.kind == "if":
            return [] if old.node.tree == new.node.tree else [f"{path}/if: the condition changed"]
        found = list(self._limits(old, new, path))
        if old.kind == "object":
            found += [*self._required(old, new, path), *self._properties(old, new, path), *self._dependencies(old, new, path)]
            found += [] if self._lenient else self._rest("additionalProperties", old, new, path)
        if old.kind == "array":
            found += [*self._items(old, new, path)]
        return found

    def _partly(self, old: _Schema, new: _Schema, path: str) -> bool:
        """Whether one of several, or each, goes with a single one."""
        single, parts = (old.node, new.parts) if new.parts else (new.node, old.parts)
        found = [not (self.compare(single, part, path) if new.parts else self.compare(part, single, path)) for part in parts]
        each = (new.kind == "all") if new.parts else (old.kind != "all")
        return all(found) if each or len(parts) == 1 else any(found)

    def _combined(self, old: _Schema, new: _Schema, path: str) -> list[str]:
        singles = [len(one.parts) == 1 for one in (old, new)]
        allowed = {"any": True, "one": singles[0], "all": all(singles)}
        if old.kind != new.kind and not allowed[new.kind]:
            return [f"{path}: {old.kind}Of changed to {new.kind}Of"]
        pairs = [
            [
                number
                for number, after in enumerate(new.parts)
                if not self.compare(before, after, f"{path}/{new.kind}Of/{number}")
            ]
            for before in old.parts
        ]
        matched, sizes = _greatest_matching(pairs), (len(old.parts), len(new.parts))
        if (sizes[0] < sizes[1] and new.kind == "all") or (sizes[0] > sizes[1] and new.kind != "all"):
            return [f"{path}/{new.kind}Of: a schema was {'added' if new.kind == 'all' else 'removed'}"]
        return [] if matched >= min(sizes) else [f"{path}/{new.kind}Of: the schemas changed incompatibly"]

    def _limits(self, old: _Schema, new: _Schema, path: str) -> Iterator[str]:
        for name in _LIMITS:
            before, after = old.node.tree.get(name), new.node.tree.get(name)
            if after is None or after is False:
                continue
            if before is None or before is False:
                yield f"{path}/{name}: {str(after)[:100]} was added"
            elif not _lets_through(name, before, after):
                yield f"{path}/{name}: changed from {str(before)[:100]} to {str(after)[:100]}"

    def _required(self, old: _Schema, new: _Schema, path: str) -> Iterator[str]:
        before, after = (set(_names(one.node.tree.get("required"))) for one in (old, new))
        properties = _members(old, "properties").keys()
        for name in sorted(after - before):
            if name not in properties and name in _members(new, "properties"):
                continue  # it is new: `_properties` tells
            if not _has_default(_members(new, "properties").get(name)):
                yield f"{path}/required: {name[:100]} was added without a default"

    def _properties(self, old: _Schema, new: _Schema, path: str) -> Iterator[str]:
        before, after = _members(old, "properties"), _members(new, "properties")
        for name in [*before, *(name for name in after if name not in before)]:
            where = f"{path}/properties/{name[:100]}"
            if name not in after:
                yield from self._removed(old.node.at(before[name]), new, name, where)
            elif name not in before:
                yield from self._added(old, new.node.at(after[name]), name, where)
                if name in _names(new.node.tree.get("required")) and not _has_default(after[name]):
                    yield f"{where}: it was added as required, without a default"
            else:
                yield from self.compare(old.node.at(before[name]), new.node.at(after[name]), where)

    def _removed(self, old: Node, new: _Schema, name: str, where: str) -> Iterator[str]:
        covering = _covering(new, name)
        if covering is None:
            if _schema(old).kind != "nothing":
                yield f"{where}: it was removed, and additionalProperties is false"
        elif not self._lenient and (found := self.compare(old, covering, where)):
            yield from (f"{one} (it was removed, and what allows it now is narrower)" for one in found)

    def _added(self, old: _Schema, new: Node, name: str, where: str) -> Iterator[str]:
        covering = _covering(old, name)
        if covering is None or self._lenient or _schema(new).kind == "anything":
            return
        if covering.tree is True:
            yield f"{where}: it was added where anything was allowed (additionalProperties is not false)"
        else:
            yield from self.compare(covering, new, where)

    def _rest(self, keyword: str, old: _Schema, new: _Schema, path: str) -> list[str]:
        before, after = (one.node.at(one.node.tree.get(keyword, True)) for one in (old, new))
        return self.compare(before, after, f"{path}/{keyword}")

    def _dependencies(self, old: _Schema, new: _Schema, path: str) -> Iterator[str]:
        for keyword in ("dependencies", "dependentRequired", "dependentSchemas"):
            before, after = _members(old, keyword), _members(new, keyword)
            for name, value in after.items():
                where = f"{path}/{keyword}/{name[:100]}"
                if name not in before:
                    yield f"{where}: it was added"
                elif isinstance(value, list) and isinstance(before[name], list):
                    if not set(_names(value)) <= set(_names(before[name])):
                        yield f"{where}: more was added"
                elif isinstance(value, list) or isinstance(before[name], list):
                    yield f"{where}: its kind changed"
                else:
                    yield from self.compare(old.node.at(before[name]), new.node.at(value), where)

    def _items(self, old: _Schema, new: _Schema, path: str) -> Iterator[str]:
        before, after = _tuple(old), _tuple(new)
        rests = _rest_of_items(old), _rest_of_items(new)
        for number in range(max(len(before), len(after))):
            pair = [nodes[number] if number < len(nodes) else rest for nodes, rest in ((before, rests[0]), (after, rests[1]))]
            if number >= len(before) and pair[0].tree is True and _schema(pair[1]).kind != "anything":
                yield f"{path}/items/{number}: it was added where anything was allowed"
            elif not (number >= len(before) and _schema(pair[0]).kind == "nothing"):
                yield from self.compare(pair[0], pair[1], f"{path}/items/{number}")
        if _schema(rests[0]).kind != "nothing":
            yield from self.compare(rests[0], rests[1], f"{path}/items")


def _schema(node: Node) -> _Schema:
    for _ in range(_MOST_REFS):
        tree = node.tree
        if not isinstance(tree, dict) or not isinstance(tree.get("$ref"), str):
            break
        found = node.resolver.lookup(tree["$ref"])
        node = Node(found.contents, found.resolver)
    else:
        return _Schema("nothing", node)  # it refers to itself
    if tree is False:
        return _Schema("nothing", node)
    parts = _parts(tree) if isinstance(tree, dict) else []
    if not parts:
        return _Schema("anything", node)
    if len(parts) > 1:
        return _Schema("all", node, tuple(node.at(part) for _, part in parts))
    kind, part = parts[0]
    if kind in _COMBINED:
        return _Schema(kind.removesuffix("Of"), node, tuple(node.at(one) for one in part[kind]))
    if isinstance(part.get("type"), list) and kind != "enum":
        return _Schema("any", node, tuple(node.at({**part, "type": one}) for one in part["type"]))
    return _Schema(kind, node.at(part) if kind not in ("enum", "not") else node)


def _parts(tree: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """What a schema says, each as a schema of its own; an enumeration says all about type."""
    parts = [(kind, {kind: tree[kind]}) for kind in _COMBINED if isinstance(tree.get(kind), list) and tree[kind]]
    if "not" in tree:
        parts.append(("not", {"not": tree["not"]}))
    if "if" in tree and ("then" in tree or "else" in tree):
        parts.append(("if", {name: tree[name] for name in _CONDITION if name in tree}))
    if "enum" in tree or "const" in tree:
        return [*parts, ("enum", {name: tree[name] for name in ("enum", "const") if name in tree})]
    said = tree.get("type")
    inferred = [kind for kind, keywords in _BY_KEYWORD.items() if any(keyword in tree for keyword in keywords)]
    rest = {name: value for name, value in tree.items() if name not in (*_COMBINED, *_CONDITION, "not")} if parts else tree
    if said is not None:
        parts.append((said if isinstance(said, str) else "any", rest))
    else:
        parts += [(kind, rest) for kind in inferred[:1]]
    return parts


def _lets_through(name: str, before: Any, after: Any) -> bool:
    try:
        return bool(_LIMITS[name](before, after))
    except (TypeError, ArithmeticError):
        return False


def _values(schema: _Schema) -> list[Any]:
    tree = schema.node.tree
    return [tree["const"]] if "const" in tree else list(tree["enum"])


def _not(schema: _Schema) -> Any:
    return schema.node.tree["not"]


def _members(schema: _Schema, keyword: str) -> dict[str, Any]:
    found = schema.node.tree.get(keyword)
    return found if isinstance(found, dict) else {}


def _names(found: Any) -> list[str]:
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []


def _has_default(tree: Any) -> bool:
    return isinstance(tree, dict) and "default" in tree


def _covering(schema: _Schema, name: str) -> Node | None:
    """What a schema says of a property that it does not name; None if it allows none."""
    for pattern, tree in _members(schema, "patternProperties").items():
        if _matches(pattern, name):
            return schema.node.at(tree)
    rest = schema.node.tree.get("additionalProperties", True)
    return None if rest is False else schema.node.at(rest)


def _matches(pattern: str, name: str) -> bool:
    """Whether a pattern is found in a name; of patterns that could take for ever, none is."""
    repeats = sum(pattern.count(mark) for mark in "*+?{")
    if len(pattern) > 200 or len(name) > 200 or repeats > 1 or _REPEATED_GROUP.search(pattern):
        return False
    try:
        return re.search(pattern, name) is not None
    except (re.error, RecursionError, OverflowError):
        return False


def _tuple(schema: _Schema) -> list[Node]:
    tree = schema.node.tree
    found = tree.get("prefixItems", tree.get("items"))
    return [schema.node.at(one) for one in found] if isinstance(found, list) else []


def _rest_of_items(schema: _Schema) -> Node:
    tree = schema.node.tree
    if "prefixItems" in tree or not isinstance(tree.get("items"), list):
        return schema.node.at(tree.get("items", True))
    return schema.node.at(tree.get("additionalItems", True))


def _greatest_matching(pairs: list[list[int]]) -> int:
    """How many on the left find a partner of their own on the right (augmenting paths)."""
    partner: dict[int, int] = {}

    def place(left: int, tried: set[int]) -> bool:
        for right in pairs[left]:
            if right not in tried:
                tried.add(right)
                if right not in partner or place(partner[right], tried):
                    partner[right] = left
                    return True
        return False

    return sum(place(left, set()) for left in range(len(pairs)))

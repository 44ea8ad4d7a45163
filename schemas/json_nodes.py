"""JSON Schemas as their comparison sees them: each place by what it says first. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

_MOST_REFS: Final = 50  # one that points to one that points …
_REPEATED_GROUP: Final = re.compile(r"\)[*+?{]")  # `(a|aa)+` alone takes for ever
_COMBINED: Final = ("allOf", "anyOf", "oneOf")
_CONDITION: Final = ("if", "then", "else")
_VALUES: Final = ("enum", "const")
_OWN: Final = (*_COMBINED, *_CONDITION, *_VALUES, "not")
_BY_KEYWORD: Final[Mapping[str, Sequence[str]]] = {
    "object": (
        "properties", "required", "additionalProperties", "patternProperties", "minProperties", "maxProperties", "dependencies",
        "dependentRequired", "dependentSchemas", "propertyNames",
    ),
    "array": ("items", "prefixItems", "additionalItems", "minItems", "maxItems", "uniqueItems", "contains"),
    "string": ("minLength", "maxLength", "pattern"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Node:
    """A place in a schema, and what its `$ref`s are looked up with."""

    tree: Any
    resolver: Any = field(repr=False)

    def at(self, tree: Any) -> "Node":
        return Node(tree, self.resolver)


@dataclass(frozen=True, slots=True)
class Said:
    """A node by what it says first.

    Attributes:
        kind: `all`, `any` or `one` of several, `not` one, `if`, `enum`, a type, `anything`, `nothing`.
        node: where, without what its kind does not mean.
        parts: of `all`, `any` and `one`.
    """

    kind: str
    node: Node
    parts: tuple[Node, ...] = ()

    @property
    def keyword(self) -> str:
        """The word that says it; of several things that are said side by side, none."""
        word = f"{self.kind}Of" if self.parts else self.kind
        return word if not self.parts or word in self.node.tree else ""


def refers(node: Node) -> bool:
    """Whether a node is a `$ref`; what stands beside one does not count."""
    return isinstance(node.tree, dict) and isinstance(node.tree.get("$ref"), str)


def target(node: Node) -> Node:
    """What a node refers to, if it does; nothing, if that refers to itself."""
    for _ in range(_MOST_REFS):
        if not refers(node):
            return node
        found = node.resolver.lookup(node.tree["$ref"])
        node = Node(found.contents, found.resolver)
    return node.at(False)


def said(node: Node) -> Said:
    """What a node, or what it refers to, says."""
    node = target(node)
    tree = node.tree
    if tree is False:
        return Said("nothing", node)
    parts = _parts(tree) if isinstance(tree, dict) else []
    if not parts:
        return Said("anything", node)
    if len(parts) > 1:
        return Said("all", node, tuple(node.at(part) for _, part in parts))
    kind, part = parts[0]
    if kind in _COMBINED:
        return Said(kind.removesuffix("Of"), node, tuple(node.at(one) for one in part[kind]))
    if kind != "enum" and isinstance(part.get("type"), list):
        return Said("any", node, tuple(node.at({**part, "type": one}) for one in part["type"]))
    return Said(kind, node.at(part) if kind not in ("enum", "not") else node)


def _parts(tree: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """What a schema says, each as a schema of its own."""
    parts = [(kind, {kind: tree[kind]}) for kind in _COMBINED if isinstance(tree.get(kind), list) and tree[kind]]
    if "not" in tree:
        parts.append(("not", {"not": tree["not"]}))
    if "if" in tree and ("then" in tree or "else" in tree):
        parts.append(("if", {name: tree[name] for name in _CONDITION if name in tree}))
    if "enum" in tree or "const" in tree:
        parts.append(("enum", {name: tree[name] for name in _VALUES if name in tree}))
    kind = tree.get("type")
    inferred = [one for one, keywords in _BY_KEYWORD.items() if any(keyword in tree for keyword in keywords)]
    rest = {name: value for name, value in tree.items() if name not in _OWN} if parts else tree
    if kind is not None:
        parts.append((kind if isinstance(kind, str) else "any", rest))
    else:
        parts += [(one, rest) for one in inferred[:1]]
    return parts


def values(schema: Said) -> list[Any]:
    """What an `enum` allows."""
    tree = schema.node.tree
    return [tree["const"]] if "const" in tree else list(tree["enum"])


def negated(schema: Said) -> Any:
    """What a `not` refuses."""
    return schema.node.tree["not"]


def members(schema: Said, keyword: str) -> dict[str, Any]:
    """The members of a keyword's object; none where it has no object."""
    found = schema.node.tree.get(keyword)
    return found if isinstance(found, dict) else {}


def names(found: Any) -> list[str]:
    """The strings of a list; none where it is no list."""
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []


def has_default(tree: Any) -> bool:
    """Whether a schema says what holds where its property is missing."""
    return isinstance(tree, dict) and "default" in tree


def covering(schema: Said, name: str) -> Node | None:
    """What a schema says of a property that it does not name; None if it allows none."""
    for pattern, tree in members(schema, "patternProperties").items():
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


def tuple_of(schema: Said) -> list[Node]:
    """What an array says of its first items one by one."""
    tree = schema.node.tree
    found = tree.get("prefixItems", tree.get("items"))
    return [schema.node.at(one) for one in found] if isinstance(found, list) else []


def rest_of_items(schema: Said) -> Node:
    """What an array says of all other items."""
    tree = schema.node.tree
    if "prefixItems" in tree or not isinstance(tree.get("items"), list):
        return schema.node.at(tree.get("items", True))
    return schema.node.at(tree.get("additionalItems", True))

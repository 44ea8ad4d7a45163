"""What a JSON Schema refuses of documents that another one allows. Pure.

The rules are those of Confluent's registry. A property may be added only where the old schema allowed no other by that name,
and removed only where the new one allows any: an open content model (`additionalProperties` is not said) may have held
anything.
Source: Confluent Schema Registry, JSON Schema compatibility (its tables of compatible changes).
"""

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

from headrace.schemas.json_nodes import (
    Node,
    Said,
    covering,
    has_default,
    members,
    names,
    negated,
    refers,
    rest_of_items,
    said,
    target,
    tuple_of,
    values,
)

_MOST_STEPS: Final = 400_000  # a second, about
_STEPS: Final = {"node": 20, "property": 5, "pair": 1}  # what each costs
_Key = tuple[int, int]  # the identities of two trees
# keyword → whether a new value lets through all that the old one does
_LIMITS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    **dict.fromkeys(
        ("maxLength", "maximum", "exclusiveMaximum", "maxItems", "maxProperties", "maxContains"), lambda old, new: new >= old
    ),
    **dict.fromkeys(
        ("minLength", "minimum", "exclusiveMinimum", "minItems", "minProperties", "minContains"), lambda old, new: new <= old
    ),
    "multipleOf": lambda old, new: Decimal(str(old)) % Decimal(str(new)) == 0,
    "pattern": lambda old, new: old == new,
    "uniqueItems": lambda old, new: old or not new,
    "contains": lambda old, new: old == new,
    "propertyNames": lambda old, new: old == new,
}


def differences(old: Node, new: Node, *, lenient: bool = False) -> list[str]:
    """What of the documents that `old` allows `new` may refuse, each with its place in `new` or `old`.

    Where it is `lenient`, properties that `old` did not name are taken not to have been there.
    """
    return list(dict.fromkeys(_Comparison(lenient).differences(old, new)))


class _Comparison:
    """Two passes. The first finds which pairs of definitions go together: all are taken to, until one turns out not to, and
    then those that counted on it are looked at again. So schemas that hold themselves are compared to any depth (the greatest
    fixed point). The second tells what stands against the pair that was asked for.
    """

    def __init__(self, lenient: bool) -> None:
        self._lenient = lenient
        self._left = _MOST_STEPS
        self._targets: dict[int, Node] = {}  # of `$ref`s, by the identity of their tree
        self._read: dict[int, tuple[Node, Said]] = {}  # so the parts of a node are the same ones whenever it is looked at
        self._pairs: dict[_Key, tuple[Node, Node]] = {}
        self._fitting: dict[_Key, bool] = {}
        self._users: dict[_Key, dict[_Key, None]] = {}  # of a pair's verdict, in order
        self._waiting: deque[_Key] = deque()
        self._at: _Key | None = None
        self._told: set[_Key] | None = None  # None in the first pass

    def differences(self, old: Node, new: Node) -> list[str]:
        root = self._pair(old, new)
        while self._waiting:
            self._at = self._waiting.popleft()
            if self._fitting[self._at] and self._compare(*self._pairs[self._at], "#"):
                self._fitting[self._at] = False
                self._waiting.extend(self._users[self._at])
        if self._fitting[root]:
            return []
        self._told = {root}
        return self._compare(*self._pairs[root], "#") or ["#: the schemas changed incompatibly"]

    def _pair(self, old: Node, new: Node) -> "_Key":
        nodes = self._target(old), self._target(new)
        key = id(nodes[0].tree), id(nodes[1].tree)
        if key not in self._pairs:
            self._pairs[key], self._fitting[key], self._users[key] = nodes, True, {}
            self._waiting.append(key)
        return key

    def _target(self, node: Node) -> Node:
        if not refers(node):
            return node
        found = self._targets.get(id(node.tree))
        if found is None:
            found = self._targets[id(node.tree)] = target(node)
        return found

    def _said(self, node: Node) -> Said:
        node = self._target(node)
        if id(node.tree) not in self._read:
            self._read[id(node.tree)] = node, said(node)
        return self._read[id(node.tree)][1]

    def compare(self, old: Node, new: Node, path: str) -> list[str]:
        """The differences of two nodes; in the first pass only whether there are any. Definitions are told of once."""
        if not (refers(old) or refers(new)):
            return self._compare(old, new, path)
        self._left -= _STEPS["pair"]
        key = self._pair(old, new)
        if self._told is None:
            assert self._at is not None
            self._users[key][self._at] = None
            return [] if self._fitting[key] else [path]
        if self._fitting[key] or key in self._told:
            return []
        self._told.add(key)
        return self._compare(*self._pairs[key], path)

    def _goes(self, old: Node, new: Node) -> bool:
        """Whether two nodes have no differences, none of which is told."""
        if self._told is None:
            return not self.compare(old, new, "#")
        if refers(old) or refers(new):
            return self._fitting[self._pair(old, new)]
        told, self._told = self._told, None
        try:
            return not self._compare(old, new, "#")
        finally:
            self._told = told

    def _compare(self, before: Node, after: Node, path: str) -> list[str]:
        self._left -= _STEPS["node"]
        if self._left < 0:
            return [f"{path}: the schemas are too large to compare"]
        old, new = self._said(before), self._said(after)
        if old.kind == "nothing" or new.kind == "anything":
            return []
        if bool(old.parts) != bool(new.parts) and self._partly(old, new):
            return []
        if old.parts and new.parts:
            return self._combined(old, new, path)
        if {old.kind, new.kind} == {"integer", "number"}:
            return [*self._limits(old, new, path)] if new.kind == "number" else [f"{path}: type changed from number to integer"]
        if old.kind != new.kind:
            return self._of_two_kinds(old, new, path)
        if old.kind == "enum":
            missing = [value for value in values(old) if not any(_same(value, one) for one in values(new))]
            return [f"{path}/enum: {str(missing)[:200]} was removed"] if missing else []
        if old.kind == "not":  # what the new one refuses, the old one must have refused
            return [f"{path}/not: {one}" for one in self.compare(new.node.at(negated(new)), old.node.at(negated(old)), "#")]
        if old.kind == "if":
            return [] if old.node.tree == new.node.tree else [f"{path}/if: the condition changed"]
        found = list(self._limits(old, new, path))
        if old.kind == "object":
            found += [*self._required(old, new, path), *self._properties(old, new, path), *self._dependencies(old, new, path)]
            found += [] if self._lenient else self._rest("additionalProperties", old, new, path)
        if old.kind == "array":
            found += [*self._items(old, new, path)]
        return found

    def _of_two_kinds(self, old: Said, new: Said, path: str) -> list[str]:
        if {old.kind, new.kind} == {"string", "number"} and _of_connect(old) and _of_connect(new):
            return []  # two ways in which Kafka Connect writes a decimal
        if new.kind == "all" and not new.keyword:  # several things are said where it was one
            return [f"{path}/{self._said(part).keyword}: it was added" for part in new.parts if not self._goes(old.node, part)]
        return [f"{path}: type changed from {old.keyword or 'several'} to {new.keyword or 'several'}"]

    def _partly(self, old: Said, new: Said) -> bool:
        """Whether one of several, or each, goes with a single one."""
        parts = new.parts or old.parts
        found = [self._goes(old.node, part) if new.parts else self._goes(part, new.node) for part in parts]
        each = (new.kind == "all") if new.parts else (old.kind != "all")
        return all(found) if each or len(parts) == 1 else any(found)

    def _combined(self, old: Said, new: Said, path: str) -> list[str]:
        parts = _unlike(old.parts), _unlike(new.parts)
        sizes = len(parts[0]), len(parts[1])
        allowed = {"any": True, "one": sizes[0] == 1, "all": sizes == (1, 1)}
        if old.kind != new.kind and not allowed[new.kind]:
            return [f"{path}: {old.kind}Of changed to {new.kind}Of"]
        pairs = [[number for number, after in enumerate(parts[1]) if self._goes(before, after)] for before in parts[0]]
        where = f"{path}/{new.keyword}" if new.keyword else path
        if (sizes[0] < sizes[1] and new.kind == "all") or (sizes[0] > sizes[1] and new.kind != "all"):
            return [f"{where}: a schema was {'added' if new.kind == 'all' else 'removed'}"]
        if _greatest_matching(pairs) >= min(sizes):
            return []
        unmatched = [before for before, fitting in zip(parts[0], pairs, strict=True) if not fitting]
        return [*self._alike(unmatched, parts[1], where)] or [f"{where}: the schemas changed incompatibly"]

    def _alike(self, old: list[Node], new: list[Node], path: str) -> Iterator[str]:
        """What stands between parts of the old and those of the new that are the only ones of their kind."""
        kinds = [self._said(part).kind for part in new]
        for part in old:
            kind = self._said(part).kind
            if kinds.count(kind) == 1:
                yield from self.compare(part, new[kinds.index(kind)], path)

    def _limits(self, old: Said, new: Said, path: str) -> Iterator[str]:
        for name in _LIMITS:
            before, after = old.node.tree.get(name), new.node.tree.get(name)
            if after is None or after is False:
                continue
            if before is None or before is False:
                yield f"{path}/{name}: {str(after)[:100]} was added"
            elif not _lets_through(name, before, after):
                yield f"{path}/{name}: changed from {str(before)[:100]} to {str(after)[:100]}"

    def _required(self, old: Said, new: Said, path: str) -> Iterator[str]:
        before, after = (set(names(one.node.tree.get("required"))) for one in (old, new))
        properties = members(old, "properties").keys()
        for name in sorted(after - before):
            if name not in properties and name in members(new, "properties"):
                continue  # it is new: `_properties` tells
            if not has_default(members(new, "properties").get(name)):
                yield f"{path}/required: {name[:100]} was added without a default"

    def _properties(self, old: Said, new: Said, path: str) -> Iterator[str]:
        before, after = members(old, "properties"), members(new, "properties")
        self._left -= _STEPS["property"] * (len(before) + len(after))
        for name in [*before, *(name for name in after if name not in before)]:
            where = f"{path}/properties/{name[:100]}"
            if name not in after:
                yield from self._removed(old.node.at(before[name]), new, name, where)
            elif name not in before:
                yield from self._added(old, new.node.at(after[name]), name, where)
                if name in names(new.node.tree.get("required")) and not has_default(after[name]):
                    yield f"{where}: it was added as required, without a default"
            else:
                yield from self.compare(old.node.at(before[name]), new.node.at(after[name]), where)

    def _removed(self, old: Node, new: Said, name: str, where: str) -> Iterator[str]:
        allowing = covering(new, name)
        if allowing is None:
            if self._said(old).kind != "nothing":
                yield f"{where}: it was removed, and additionalProperties is false"
        elif not self._lenient and (found := self.compare(old, allowing, where)):
            yield from (f"{one} (it was removed, and what allows it now is narrower)" for one in found)

    def _added(self, old: Said, new: Node, name: str, where: str) -> Iterator[str]:
        allowing = covering(old, name)
        if allowing is None or self._lenient or self._said(new).kind == "anything":
            return
        if allowing.tree is True:
            yield f"{where}: it was added where anything was allowed (additionalProperties is not false)"
        else:
            yield from self.compare(allowing, new, where)

    def _rest(self, keyword: str, old: Said, new: Said, path: str) -> list[str]:
        before, after = (one.node.at(one.node.tree.get(keyword, True)) for one in (old, new))
        return self.compare(before, after, f"{path}/{keyword}")

    def _dependencies(self, old: Said, new: Said, path: str) -> Iterator[str]:
        for keyword in ("dependencies", "dependentRequired", "dependentSchemas"):
            before, after = members(old, keyword), members(new, keyword)
            for name, value in after.items():
                where = f"{path}/{keyword}/{name[:100]}"
                if name not in before:
                    yield f"{where}: it was added"
                elif isinstance(value, list) and isinstance(before[name], list):
                    if not set(names(value)) <= set(names(before[name])):
                        yield f"{where}: more was added"
                elif isinstance(value, list) or isinstance(before[name], list):
                    yield f"{where}: its kind changed"
                else:
                    yield from self.compare(old.node.at(before[name]), new.node.at(value), where)

    def _items(self, old: Said, new: Said, path: str) -> Iterator[str]:
        before, after = tuple_of(old), tuple_of(new)
        rests = rest_of_items(old), rest_of_items(new)
        for number in range(max(len(before), len(after))):
            pair = [nodes[number] if number < len(nodes) else rest for nodes, rest in ((before, rests[0]), (after, rests[1]))]
            if number >= len(before) and pair[0].tree is True and self._said(pair[1]).kind != "anything":
                yield f"{path}/items/{number}: it was added where anything was allowed"
            elif not (number >= len(before) and self._said(pair[0]).kind == "nothing"):
                yield from self.compare(pair[0], pair[1], f"{path}/items/{number}")
        if self._said(rests[0]).kind != "nothing":
            yield from self.compare(rests[0], rests[1], f"{path}/items")


def _lets_through(name: str, before: Any, after: Any) -> bool:
    try:
        return bool(_LIMITS[name](before, after))
    except (TypeError, ArithmeticError):
        return False


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _unlike(parts: tuple[Node, ...]) -> list[Node]:
    """Those parts that are not written like one before."""
    return list({json.dumps(part.tree, sort_keys=True): part for part in reversed(parts)}.values())[::-1]


def _of_connect(schema: Said) -> bool:
    return bool(schema.node.tree.get("connect.type") == "bytes")


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

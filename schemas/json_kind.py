"""JSON Schemas as the registry judges them: valid or not, the same or not, readable or not. Pure: nothing is fetched.

Drafts 4 to 2020-12, by `$schema`, else draft 7; checked by `jsonschema`, references by `referencing`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urljoin

import jsonschema
import jsonschema.exceptions
import jsonschema.validators
import referencing
import referencing.exceptions
import referencing.jsonschema

from headrace.schemas.invalid import InvalidSchemaError
from headrace.schemas.json_compatibility import differences
from headrace.schemas.json_nodes import Node
from headrace.schemas.references import Resolved

_DRAFT: Final = referencing.jsonschema.DRAFT7
_NO_FORMATS: Final = jsonschema.FormatChecker(formats=())  # a pattern is one of ECMA's, of which Python's are not all
_UNRESOLVABLE: Final = (referencing.exceptions.Unresolvable, referencing.exceptions.NoSuchResource)


@dataclass(frozen=True, slots=True)
class JsonSchema:
    """A valid schema.

    Attributes:
        text: as it was given, without insignificant spaces.
    """

    text: str
    node: Node = field(repr=False)

    @property
    def normal_text(self) -> str:
        """Members in the order of their names."""
        return _compact(self.node.tree, sort=True)

    def fields(self) -> set[str]:
        """See `kinds.Parsed`."""
        tree = self.node.tree
        found = tree.get("properties") if isinstance(tree, dict) else None
        return set(found) if isinstance(found, dict) else set()

    def unreadable(self, writer: "JsonSchema", mine: str, others: str, *, lenient: bool) -> list[str]:
        """See `kinds.Parsed`."""
        try:
            return [
                f"{one} (read with the {mine} schema, written with the {others} one)"
                for one in differences(writer.node, self.node, lenient=lenient)
            ]
        except RecursionError:
            return ["the schemas are nested too deeply to compare"]
        except _UNRESOLVABLE as error:
            return [str(error)]


def parse(text: str, references: Sequence[Resolved] = ()) -> JsonSchema:
    """Check a schema against its draft, and that each `$ref` points to something.

    Raises:
        InvalidSchemaError: it is none.
    """
    try:
        tree = json.loads(text)
        compact = _compact(tree)
        if not isinstance(tree, dict | bool):
            raise InvalidSchemaError("a JSON Schema is an object, or true or false")
        validator: Any = jsonschema.validators.validator_for(tree, default=jsonschema.Draft7Validator)
        validator.check_schema(tree, format_checker=_NO_FORMATS)
        root = _resource(tree)
        registry: Any = referencing.Registry()
        for one in references:
            named = _resource(json.loads(one.text))
            registry = registry.with_resources([(one.name, named), (urljoin(root.id() or "", one.name), named)])
        resolver = registry.resolver_with_root(root)
        _follow(root, resolver)
    except InvalidSchemaError:
        raise
    except jsonschema.exceptions.SchemaError as error:
        raise InvalidSchemaError(f"{error.json_path}: {error.message[:500]}") from error
    except _UNRESOLVABLE as error:
        raise InvalidSchemaError(f"$ref {error.ref[:200]!r} points to nothing here or among the references") from error
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        RecursionError,
        referencing.exceptions.CannotDetermineSpecification,
    ) as e:
        raise InvalidSchemaError(str(e)[:500] or repr(e)) from e
    return JsonSchema(compact, Node(tree, resolver))


def identity(text: str) -> str:
    """All but the order of members and spaces; of what is no JSON, the text."""
    try:
        return json.dumps(json.loads(text), sort_keys=True)
    except (ValueError, RecursionError):
        return text


def _compact(tree: Any, *, sort: bool = False) -> str:
    text = json.dumps(tree, separators=(",", ":"), ensure_ascii=False, allow_nan=False, sort_keys=sort)
    text.encode()  # half of a surrogate pair is no text that others can read
    return text


def _resource(tree: Any) -> Any:
    return referencing.Resource.from_contents(tree, default_specification=_DRAFT)


def _follow(resource: Any, resolver: Any) -> None:
    """Look up every `$ref` of a resource."""
    contents = resource.contents
    if isinstance(contents, dict) and isinstance(contents.get("$ref"), str):
        resolver.lookup(contents["$ref"])
    for one in resource.subresources():
        _follow(one, resolver.in_subresource(one))

"""What pydantic finds wrong with a configuration, in our words: where, what, and what to do.

A validator of ours raises ValueError with `what; what to do`, or WrongKeys, which names keys of its section. What pydantic
finds by itself is told by the type that a key has, with its default as an example. What a key with a secret holds is not shown,
nor what is in a mapping or a list.
"""

from collections.abc import Iterator, Mapping
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from headrace.addresses import Address
from headrace.config_file import Origin, Place, at, dotted
from headrace.config_keys import REFERENCE, field_at, fields_of, kind_at, meant_by, nearest, options
from headrace.config_secrets import is_secret, without_user_info
from headrace.errors import Fault

_LONGEST_SHOWN = 60
_OTHERWISE = "must be written otherwise"
_ADVICE = ("write ", "say ", "name ", "give ")  # a message that begins so says what to do, and nothing else
_ENTRY = "[key]"  # how pydantic says that it means a mapping's key, not the value

_WORDS: Final[Mapping[Any, str]] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    SecretStr: "a text",
    Path: "a path",
    Address: "an address, host:port",
    list: "a list",
    tuple: "a list",
    dict: "a mapping",
}
_LIMITS: Final = {  # pydantic's error, what it calls the limit, how we say it
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}
_LENGTHS: Final = {
    "string_too_short": ("min_length", "at least", "characters"),
    "string_too_long": ("max_length", "at most", "characters"),
    "too_short": ("min_length", "at least", "entries"),
    "too_long": ("max_length", "at most", "entries"),
}


class WrongKeys(ValueError):  # noqa: N818 - it is what pydantic is told, never what a user sees raised
    """Raised by a validator of a section: which of its keys are wrong, and `what; what to do` of each.

    Args:
        said: by the key, dotted where it lies deeper.
    """

    def __init__(self, said: Mapping[str, str] | Mapping[tuple[str, str], str]) -> None:
        super().__init__("; ".join(said.values()))
        self.said = said


def faults_of(model: type[BaseModel], error: ValidationError, tree: Mapping[str, Any], origin: Origin) -> list[Fault]:
    """All of them, as the file has them; what is missing only because its key is misspelt is told once."""
    found: dict[Place, Fault] = {}
    meant: set[Place] = set()
    placed = [(_place(model, each["loc"], tree), each) for each in error.errors(include_url=False)]
    for place, group in groupby(placed, key=lambda pair: pair[0]):
        details = [each for _, each in group]
        for where, what, do in _told(model, place, details, tree):
            written = _written(where, tree)
            found.setdefault(written, origin.fault(written, what, do or _advice(model, where)))
        if details[0]["type"] == "extra_forbidden":
            meant.add((*place[:-1], meant_by(model, place, details[0]["input"])[1]))
    told = [place for place in found if place not in meant or at(tree, place) is not None]
    return [found[place] for place in sorted(told, key=lambda place: (origin.line(place), dotted(place)))]


def _place(model: type[BaseModel], location: tuple[int | str, ...], tree: Any) -> Place:
    """Where an error is in the model: without pydantic's tags of alternatives."""
    place: Place = ()
    for step in location:
        alternatives = len(options(kind_at(model, place))) > 1
        if step != _ENTRY and (not alternatives or (isinstance(step, int) and isinstance(at(tree, place), list))):
            place = (*place, step)
    return place


def _written(place: Place, tree: Any) -> Place:
    """That place as far as it was written: a section may have a short form, as `registry: URL`."""
    for end in range(1, len(place)):
        given = at(tree, place[:end])
        if given is not None and not isinstance(given, Mapping | list):
            return place[:end]
    return place


def _told(
    model: type[BaseModel], place: Place, details: list[ErrorDetails], tree: Mapping[str, Any]
) -> Iterator[tuple[Place, str, str]]:
    """Place, what is wrong there, and what to do (which may be empty)."""
    first = details[0]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, WrongKeys):
        for key, message in cause.said.items():
            what, _, do = message.partition("; ")
            yield (*place, *((key,) if isinstance(key, str) else key)), what, do
        return
    kinds = options(kind_at(model, place))
    if len(details) > 1 and len(kinds) > 1:
        what, do = _of_kind(kinds, first["input"], "")
    else:
        what, do = _in_words(model, place, first, kinds)
    yield place, what + _shown(place, first, at(tree, _written(place, tree))), do


def _in_words(model: type[BaseModel], place: Place, detail: ErrorDetails, kinds: list[Any]) -> tuple[str, str]:
    context = detail.get("ctx", {})
    kind, given = detail["type"], detail["input"]
    if kind in ("value_error", "assertion_error"):
        what, _, do = str(context["error"]).partition("; ")
        return (_OTHERWISE, what) if not do and what.startswith(_ADVICE) else (what, do)
    if kind == "extra_forbidden":
        return "unknown key", meant_by(model, place, given)[0]
    if kind == "missing":
        field = field_at(model, place)
        return "it is missing", f"add it: {field.description}" if field is not None and field.description else "add it"
    if kind == "invalid_key" or detail["loc"][-1:] == (_ENTRY,):
        return "a key must be a text", f"put it in quotes, as '{place[-1] if place else given}'"
    if kind == "literal_error":
        choices = [_plain(choice) for each in kinds for choice in _choices(each)]
        what = f"must be {_either(choices)}"
        return what, nearest(choices, str(given)) if _resembles(choices, given) else f"choose one of {', '.join(choices)}"
    if kind in _LIMITS:
        name, word = _LIMITS[kind]
        return f"must be {word} {context[name]}", f"write {_range(word, context[name])}"
    if kind in _LENGTHS:
        name, word, things = _LENGTHS[kind]
        things = "characters" if kinds[0] is SecretStr else things
        number = context[name]
        if number == 1 and name == "min_length":
            return "must not be empty", ""
        return f"must have {word} {number} {things}", f"write {'more' if name == 'min_length' else 'fewer'}"
    return _of_kind(kinds, given, _example(model, place))


def _range(word: str, limit: Any) -> str:
    return {
        "at least": f"{limit} or more",
        "at most": f"{limit} or less",
        "more than": f"a number above {limit}",
        "less than": f"a number below {limit}",
    }[word]


def _of_kind(kinds: list[Any], given: Any, example: str) -> tuple[str, str]:
    """That a value is of another kind than it must be."""
    what = f"must be {_either([_word(each) for each in kinds])}"
    base = get_origin(kinds[0]) or kinds[0]
    scalar = not isinstance(given, Mapping | list)
    if given is None:
        return "it has no value", f"write {_either([_word(each) for each in kinds])}, or remove the key"
    if base in (str, SecretStr) and scalar and not isinstance(given, str):
        return what, f"put it in quotes: '{_plain(given)}'"
    if base in (list, tuple):
        return what, f"write it as [{_plain(given)}]" if scalar and given != "" else "write it as [a, b]"
    if base is dict or fields_of(base):
        keys = [key for key, field in fields_of(base).items() if field.is_required()] or list(fields_of(base))[:1] or ["a"]
        return what, f"write it as {{{keys[0]}: …}}"
    if base is bool:
        return what, "write true or false"
    return what, f"write one, as {example}" if example else f"write {_word(kinds[0])}"


def _word(kind: Any) -> str:
    base = get_origin(kind) or kind
    if base is Literal:
        return f"one of {', '.join(_choices(kind))}"
    if fields_of(base):
        return "a mapping"
    return _WORDS.get(base, "another value")


def _either(words: list[str]) -> str:
    words = list(dict.fromkeys(words))
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _choices(kind: Any) -> list[str]:
    """What a Literal may be; of a list of them, what its entries may be."""
    if get_origin(kind) is Literal:
        return [_plain(each) for each in get_args(kind)]
    return [choice for argument in get_args(kind) for choice in _choices(argument)]


def _resembles(choices: list[str], given: Any) -> bool:
    return nearest(choices, str(given)).startswith("did you mean")


def _plain(value: Any) -> str:
    """A value as a file has it."""
    if value is None:
        return "nothing"
    return str(value).lower() if isinstance(value, bool) else str(value) or "''"


def _example(model: type[BaseModel], place: Place) -> str:
    """A key's default; empty where there is none that could be written."""
    field = field_at(model, place)
    default = None if field is None or field.is_required() else field.default
    return _plain(default) if isinstance(default, bool | int | float | str) and default != "" else ""


def _shown(place: Place, detail: ErrorDetails, given: Any) -> str:
    """The value, where everybody may see it and it is not told anyway."""
    if detail["type"] in ("extra_forbidden", "missing", "invalid_key") or detail["loc"][-1:] == (_ENTRY,):
        return ""
    value = detail["input"] if isinstance(detail["input"], Mapping | list | tuple) or given is None else given
    if value is None or value == "" or not place or is_secret(dotted(place)) or isinstance(value, Mapping | list | tuple):
        return ""
    if not isinstance(value, bool | int | float | str | date):
        return ""
    text = str(value) if isinstance(value, date) else _plain(value) if isinstance(value, bool) else repr(value)
    text = without_user_info(text)
    return f", not {text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + '…'}"


def _advice(model: type[BaseModel], place: Place) -> str:
    """What a key is for, where nothing better can be said of it."""
    field = field_at(model, place)
    if field is not None and field.description:
        return f"{dotted(place)} is: {field.description}"
    return f"see its keys: {REFERENCE}"

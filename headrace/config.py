"""Configuration: one YAML file per process, checked by a pydantic model (design D9).

Overrides, weakest first: the file, `HEADRACE__A__B=value` in the environment, `--set a.b=value`. A value is read as YAML, a
secret's as the text that it is. Secrets come from files or variables: `${env:NAME}`, `${file:/path}` (`secret_references.py`).
All that is wrong is told at once, each fault with the file, the line and the key, and what to do (`config_faults.py`). What can
only be seen of keys together is told once each of them is right.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar, cast

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from headrace import config_overrides
from headrace.config_faults import faults_of
from headrace.config_file import Origin, read
from headrace.errors import ConfigError
from headrace.secret_references import References
from headrace.settings import Secret, Settings


class Section(BaseModel):
    """Base of every section of a configuration: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, defer_build=True)

    derived: ClassVar[tuple[str, ...]] = ()
    """Properties that its settings have, too."""


M = TypeVar("M", bound=Section)


@dataclass(frozen=True, slots=True)
class Loaded(Generic[M]):
    """A configuration, and where each of its keys was said."""

    config: M
    origin: Origin


def load_config(model: type[M], file: Path, *, overrides: Sequence[str], environment: Mapping[str, str]) -> M:
    """Read, override and check one configuration.

    Args:
        overrides: `a.b=value`, as given to `--set`.
        environment: the process's variables; those that begin with HEADRACE__ are used.
    Raises:
        ConfigError: with all that is wrong.
    """
    return load_with_origin(model, file, overrides=overrides, environment=environment).config


def load_with_origin(model: type[M], file: Path, *, overrides: Sequence[str], environment: Mapping[str, str]) -> Loaded[M]:
    """The same, for whoever has more to check and to say of it."""
    tree, origin, faults = read(file)
    faults += config_overrides.apply(model, tree, origin, overrides, environment)
    references = References(environment)
    tree = references.resolved(tree)
    faults += [origin.fault(place, what, do) for place, (what, do) in references.missing.items()]
    found: M | None = None
    try:
        found = model.model_validate(tree)
    except ValidationError as error:
        known = {fault.key for fault in faults}
        faults += [fault for fault in faults_of(model, error, tree, origin) if fault.key not in known]
    if found is None or faults:
        raise ConfigError(*map(references.hidden, faults)) from None  # the cause holds the values
    return Loaded(found, origin)


def settings_of(section: M) -> M:
    """The values alone (settings.py), by the same names; so they are of the section's type for whoever only reads them."""
    return cast("M", _plain(section))


def _plain(value: Any) -> Any:
    match value:
        case Section():
            fields = type(value).model_fields
            values = {name: _plain(getattr(value, name)) for name in (*fields, *value.derived)}
            return Settings(values, {field.alias or name: name for name, field in fields.items()})
        case SecretStr():
            return Secret(value.get_secret_value())
        case dict():
            return {key: _plain(each) for key, each in value.items()}
        case list() | tuple():
            return type(value)(map(_plain, value))
    return value

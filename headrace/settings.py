"""What a configuration says, after it was checked: values alone, without what checked them.

A process that runs for months needs the values only; pydantic and the models take 11 MB beside them (docs/adr/0048).
`config.settings_of` makes them, in another process where that is wanted: they can be pickled.
"""

from collections.abc import Mapping
from typing import Any


class Settings:
    """A section: its model's fields, and some of its properties, are attributes here; they do not change."""

    def __init__(self, values: Mapping[str, Any], names: Mapping[str, str]) -> None:
        """`names` are those of the fields, by the keys that stand for them in a file."""
        self.__dict__.update(values, _names=names)

    @property
    def by_key(self) -> dict[str, Any]:
        """The fields, by the keys that stand for them in a file."""
        return {key: getattr(self, name) for key, name in vars(self)["_names"].items()}

    def with_values(self, **values: Any) -> "Settings":
        """The same, but for these."""
        return Settings({**vars(self), **values}, vars(self)["_names"])

    def __getattr__(self, name: str) -> Any:
        """Only asked for what there is not; it tells type checkers that there is more than they see."""
        raise AttributeError(name)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"settings do not change: {name}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Settings) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]  # what is equal by its values, which may be lists

    def __repr__(self) -> str:
        return f"Settings({', '.join(self.by_key)})"


class Secret:
    """A text that shows itself only to who asks for it, as pydantic's SecretStr does."""

    def __init__(self, text: str) -> None:
        self._text = text

    def get_secret_value(self) -> str:
        """The text."""
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "Secret(…)"

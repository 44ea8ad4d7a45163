"""What of a record becomes columns, as the configuration says."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shape:
    """What lands of a record beside its value, and whether what is incompatible gets columns of its own.

    `path_keys`: what the directories say of their rows, as dt=…; engines make columns of it.
    """

    key: bool = False
    key_fields: bool = False
    headers: bool = False
    tombstones: bool = False
    aside: bool = False
    path_keys: frozenset[str] = frozenset()

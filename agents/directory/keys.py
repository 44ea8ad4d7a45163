"""The `directory` section of an input: a folder into which programs drop finished files."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from headrace.config import Section


class DirectoryKeys(Section):
    """A folder of finished files; none may change once it has been left alone for `settle_ms`."""

    path: Path = Field(description="the folder; `directory: PATH` says the same")
    when_done: Literal["keep", "rename", "delete"] = Field(
        "keep", description="what becomes of a file once its last byte is acknowledged and that is durable"
    )
    suffix: str = Field(".done", description="what `rename` adds to a name; in any mode, a name that ends in it is not shipped")
    settle_ms: int = Field(
        10_000,
        ge=0,
        le=86_400_000,
        description="a file is begun once it has not changed for so long; 0 where all come by rename",
    )
    unfinished: list[str] = Field(
        [".tmp", ".part", ".partial", ".filepart", ".inprogress", "~"],
        description="a name that ends in one of these is not finished, nor is one that begins with a dot",
    )
    subfolders: bool = Field(False, description="whether files in folders below it are shipped, too")

    @model_validator(mode="before")
    @classmethod
    def _may_be_a_path(cls, data: Any) -> Any:
        return {"path": data} if isinstance(data, str) else data

    @field_validator("suffix")
    @classmethod
    def _ends_a_name(cls, suffix: str) -> str:
        if not suffix or "/" in suffix or "\0" in suffix or len(suffix.encode()) > 64:
            raise ValueError("suffix is some characters at the end of a name, as .done")
        return suffix

    @field_validator("unfinished")
    @classmethod
    def _none_is_empty(cls, unfinished: list[str]) -> list[str]:
        if "" in unfinished:
            raise ValueError("unfinished has an empty suffix, with which every name ends; remove it")
        return unfinished

    def takes(self, path: Path) -> bool:
        """Whether a file, or what is in a folder, is shipped and put away as one that was dropped; links are followed."""
        folder, found = self.path.resolve(), path.resolve()
        below = folder in found.parents if self.subfolders else folder == found.parent and not found.is_dir()
        return below or folder == found

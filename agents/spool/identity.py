"""What a spool remembers of itself: its id, and how its lines are shipped (`spool.json` in its folder, version 1)."""

import json
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.agents.effects import Input
from headrace.agents.spool.frames import MARK_BYTES
from headrace.errors import CorruptError, VersionError

VERSION = 1
FILE_NAME = "spool.json"


@dataclass(frozen=True, slots=True)
class Identity:
    """One spool's."""

    spool_id: str
    input: Input

    @property
    def mark(self) -> bytes:
        """What its frames begin with."""
        return bytes.fromhex(self.spool_id)[:MARK_BYTES]


def identity_of(place: Path, want: Input | None) -> Identity | None:
    """The identity of the spool in a folder, made or brought up to what is wanted of it now.

    Returns:
        None where nothing is wanted, and nothing was ever begun.
    Raises:
        CorruptError, VersionError: it is not ours to read. OSError: the disk refuses.
    """
    known = _read(place / FILE_NAME)
    if want is None or (known is not None and known.input == want):
        return known
    identity = Identity(uuid.uuid4().hex if known is None else known.spool_id, want)
    _write(place, identity)
    return identity


def _read(file: Path) -> Identity | None:
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        return None
    try:
        kept: dict[str, Any] = json.loads(data)
        version = int(kept["version"])
        if version > VERSION:
            raise VersionError(f"{file} has version {version}; this headrace reads up to {VERSION}: upgrade it")
        how = kept["input"]
        source = Input(
            how["topic"], pipeline=how["pipeline"], service=how["service"], split_bytes=how["split_bytes"], name=how["name"]
        )  # fmt: skip
        identity = Identity(kept["id"], source)
        if len(identity.mark) != MARK_BYTES:
            raise ValueError("the id is too short")
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptError(f"{file} is damaged; move the folder away (what it holds is not shipped)") from error
    return identity


def _write(place: Path, identity: Identity) -> None:
    """Replace it durably; folders that are made for it are durable too."""
    source = identity.input
    how = {
        "topic": source.topic, "pipeline": source.pipeline, "service": source.service, "split_bytes": source.split_bytes,
        "name": source.name,
    }  # fmt: skip
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = place / f"{FILE_NAME}.tmp"
    with temporary.open("wb") as out:
        out.write(json.dumps({"version": VERSION, "id": identity.spool_id, "input": how}).encode("ascii"))
        out.flush()
        os.fsync(out.fileno())
    temporary.replace(place / FILE_NAME)
    for folder in (place, place.parent, place.parent.parent):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

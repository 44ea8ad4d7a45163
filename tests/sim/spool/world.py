"""A spool's disk that keeps of what was not synced what it likes."""

import errno
import random
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class _File:
    """What is read now; what of it is durable; and the writes since, that a crash may keep, lose or tear."""

    data: bytearray = field(default_factory=bytearray)
    durable: bytes = b""
    unsynced: list[tuple[int, bytes]] = field(default_factory=list)


class SpoolDisk:
    """One folder (SpoolFiles). Names become durable by `sync_folder`, bytes by `sync`.

    `step` is called before every operation; it may end the agent there. A refused operation may have happened in part.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._files: dict[str, _File] = {}
        self._durable_names: dict[str, _File] = {}
        self.refuse_rate = 0.0
        self.step: Callable[[], None] = lambda: None

    def _may_fail(self, *, number: int = errno.ENOSPC) -> None:
        self.step()
        if self._rng.random() < self.refuse_rate:
            raise OSError(number, "refused")

    def sizes(self) -> dict[str, int]:
        return {name: len(file.data) for name, file in self._files.items()}

    def read(self, name: str, offset: int, length: int) -> bytes:
        return bytes(self._files[name].data[offset : offset + length])

    def write(self, name: str, offset: int, data: bytes) -> None:
        self.step()
        file = self._files.setdefault(name, _File())
        if self._rng.random() < self.refuse_rate:
            data = data[: self._rng.randint(0, len(data))]
            self._put(file, offset, data)
            raise OSError(errno.ENOSPC, "refused")
        # What is written is there in pieces, and the agent may end between two of them.
        middle = self._rng.randint(0, len(data))
        self._put(file, offset, data[:middle])
        self.step()
        self._put(file, offset + middle, data[middle:])

    def _put(self, file: _File, offset: int, data: bytes) -> None:
        if len(file.data) < offset:
            file.data.extend(bytes(offset - len(file.data)))
        file.data[offset : offset + len(data)] = data
        file.unsynced.append((offset, data))

    def sync(self, name: str) -> None:
        self._may_fail(number=errno.EIO)
        file = self._files[name]
        file.durable, file.unsynced = bytes(file.data), []
        self.step()

    def truncate(self, name: str, size: int) -> None:
        self._may_fail(number=errno.EIO)
        file = self._files[name]
        del file.data[size:]
        file.unsynced.append((size, b""))

    def delete(self, name: str) -> None:
        self._may_fail(number=errno.EIO)
        self._files.pop(name, None)

    def sync_folder(self) -> None:
        self._may_fail(number=errno.EIO)
        self._durable_names = dict(self._files)
        self.step()

    # ---- what befalls it

    def lose_power(self) -> None:
        """Of what was not synced any part may be there: whole writes, torn ones, none; names that were not synced, or not."""
        for file in {id(file): file for file in (*self._files.values(), *self._durable_names.values())}.values():
            data = bytearray(file.durable)
            for offset, piece in file.unsynced:
                if not piece:
                    if self._rng.random() < 0.5:
                        del data[offset:]
                    continue
                kept = piece[: self._rng.choice((0, len(piece), self._rng.randint(0, len(piece))))]
                if kept and len(data) < offset:
                    data.extend(bytes(offset - len(data)))
                data[offset : offset + len(kept)] = kept
            file.data, file.durable, file.unsynced = data, bytes(data), []
        names = dict(self._durable_names)
        for name, file in self._files.items():
            if self._rng.random() < 0.5:
                names.setdefault(name, file)
        for name in list(names):
            if name not in self._files and self._rng.random() < 0.5:
                del names[name]
        self._files, self._durable_names = names, dict(names)

    def rot(self) -> bool:
        """A byte of a file changes on the disk. False where there is none."""
        files = [file for _, file in sorted(self._files.items()) if file.data]
        if not files:
            return False
        file = self._rng.choice(files)
        at = self._rng.randrange(len(file.data))
        file.data[at] ^= 1 << self._rng.randrange(8)
        file.durable = bytes(file.data)
        return True

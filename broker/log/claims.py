"""Taking possession of the log directories: which can be used, and whose they are; before anything in them is changed.

A directory that cannot be read, or that belongs to another broker or cluster (a wrong disk), is refused and left alone: only
its partitions are offline. The first one that says so tells the cluster. One that another process holds is a mistake of whoever
started us, and so is one that is named twice; both end the start. Source: Kafka's LogManager, KIP-858 (directory ids).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headrace.broker.log import checkpoint
from headrace.broker.log.disk import Disk, Lock, read_whole
from headrace.errors import UsageError

_LOCK = ".lock"


@dataclass(frozen=True, slots=True)
class Claim:
    """A directory that is ours while we hold its lock; ids are empty where it has none yet."""

    path: str
    lock: Lock
    cluster_id: str
    node_id: str
    directory_id: str

    @property
    def is_new(self) -> bool:
        """Whether it has never been a log directory."""
        return not self.cluster_id


@dataclass(frozen=True, slots=True)
class Claims:
    """The directories that can be used, in the order in which they are configured, and why others cannot: path → reason."""

    held: Sequence[Claim]
    refused: Mapping[str, str]

    @property
    def cluster_id(self) -> str | None:
        """The cluster that the directories belong to; None if all are new."""
        return next((claim.cluster_id for claim in self.held if not claim.is_new), None)

    def release(self) -> None:
        """Let others have them."""
        for claim in self.held:
            claim.lock.release()


def claim_directories(disk: Disk, paths: Sequence[str], node_id: int) -> Claims:
    """Lock the directories that can be used.

    Args:
        paths: absolute; each is made if it is not there.
    Raises:
        UsageError: none can be used, one is in use by another process, or one is named twice.
    """
    held: list[Claim] = []
    refused: dict[str, str] = {}
    try:
        for path in paths:
            claim = _claim(disk, path)
            if isinstance(claim, str):
                refused[path] = claim
                continue
            reason = _foreign(claim, node_id, Claims(held, {}).cluster_id)
            if reason is None:
                _refuse_copies(claim, held)
                held.append(claim)
            else:
                claim.lock.release()
                refused[path] = reason
        if not held:
            raise UsageError("; ".join(f"log.dirs {path}: {reason}" for path, reason in refused.items()))
    except BaseException:
        Claims(held, {}).release()
        raise
    return Claims(held, refused)


def _claim(disk: Disk, path: str) -> Claim | str:
    """The directory, or why it cannot be used."""
    try:
        disk.make_directory(path)
        lock = disk.lock(f"{path}/{_LOCK}")
    except BlockingIOError as error:
        raise UsageError(f"log.dirs {path}: another broker uses it; stop that one, or name another directory") from error
    except OSError as error:
        return f"{error.strerror or error}; name a directory that can be written"
    try:
        disk.list(path)
        content = read_whole(disk, f"{path}/{checkpoint.META_PROPERTIES}")
    except OSError as error:
        lock.release()
        return error.strerror or str(error)
    properties = checkpoint.decode_properties(content or b"")
    return Claim(path, lock, *(properties.get(key, "") for key in ("cluster.id", "node.id", "directory.id")))


def _foreign(claim: Claim, node_id: int, cluster_id: str | None) -> str | None:
    """Whose the directory is, if it is not ours."""
    if claim.is_new:
        return None
    if claim.node_id != str(node_id):
        return f"belongs to node {claim.node_id}, but node.id is {node_id}; correct one"
    if cluster_id not in (None, claim.cluster_id):
        return f"belongs to cluster {claim.cluster_id}, and the directories before it to {cluster_id}"
    return None


def _refuse_copies(claim: Claim, held: Sequence[Claim]) -> None:
    for other in held:
        if claim.directory_id and claim.directory_id == other.directory_id:
            claim.lock.release()
            raise UsageError(f"log.dirs {claim.path}: is a copy of {other.path} (directory.id); name one of them")

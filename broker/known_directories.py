"""Log directories that the store has met, by their ids, so that one that is not there any more is missed.

Taken off `log.dirs` by mistake, or a disk that is not mounted, so that an empty directory stands in its place: without this its
partitions would be made anew, empty, under the eyes of nobody. A directory that is missed counts as one that cannot be opened;
it is forgotten once no partition of a topic is missed with it, or when `log.dirs.given.up` names it.
"""

import logging
from collections.abc import Collection, Mapping
from dataclasses import replace

from headrace.broker.coordination.store import CoordinationStore
from headrace.broker.log.claims import Claims
from headrace.broker.log.directories import LogDirectories
from headrace.errors import StorageError

logger = logging.getLogger(__name__)
_KIND = "log.directory"  # of store entries: directory.id → where it was


def with_missing(claims: Claims, store: CoordinationStore, given_up: Collection[str]) -> Claims:
    """The claims, and among the refused ones the directories that should be there.

    Args:
        given_up: ids of directories that do not come back.
    Raises:
        StorageError: the store fails.
    """
    there = {claim.directory_id for claim in claims.held}
    missing = {
        f"{path} (directory.id {directory_id})": "is not in log.dirs, or not mounted; put it back, or, if it is lost with"
        f" what was in it, say log.dirs.given.up: {directory_id}"
        for directory_id, path in sorted(store.entries(_KIND).items())
        if directory_id not in there and directory_id not in given_up and path not in claims.refused
    }
    return replace(claims, refused={**claims.refused, **missing})


def remember(store: CoordinationStore, logs: LogDirectories) -> None:
    """Keep the ids of the directories that are there; before a partition is made in one of them."""
    known = store.entries(_KIND)
    _change(store, {each: path for each, path in logs.identities().items() if known.get(each) != path})


def forget(store: CoordinationStore, logs: LogDirectories, given_up: Collection[str]) -> None:
    """Forget the directories that are gone, if nothing is missed with them; after `LogDirectories.restore` of all topics."""
    known = store.entries(_KIND)
    gone = known.keys() - logs.identities().keys()
    forgotten = gone if logs.is_complete else gone & set(given_up)
    if forgotten and _change(store, dict.fromkeys(forgotten)):
        logger.warning("log directories forgotten", extra={"directories": {each: known[each] for each in sorted(forgotten)}})


def _change(store: CoordinationStore, changes: Mapping[str, str | None]) -> bool:
    try:
        if changes:
            store.change_entries(_KIND, changes)
    except StorageError as error:  # as on a full disk: the next start does it
        logger.warning("the log directories are not noted", extra={"error": str(error)})
        return False
    return True

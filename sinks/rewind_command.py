"""`headrace load --rewind TOPIC`: land a topic again from earlier offsets, beside the table, and then take its place."""

import logging
import sys
import time
import uuid
from threading import Event

from headrace.clock import Clock, SystemClock
from headrace.errors import PeerError, UsageError
from headrace.process import process_name
from headrace.sinks.config import LoadConfig
from headrace.sinks.lag.telling import telling
from headrace.sinks.loader import Loader
from headrace.sinks.places import unknown_table
from headrace.sinks.rewind_columns import columns_of, parse_columns_of
from headrace.sinks.rewind_targets import find_targets, parse_to
from headrace.sinks.rewinding import fork_table
from headrace.sinks.stores.roots import open_root
from headrace.sinks.table.commit import Fenced, read_head
from headrace.sinks.table.fold import Fold
from headrace.sinks.table.generations import read_generation
from headrace.sinks.table.reader import tables
from headrace.sinks.table.record import CommitRecord
from headrace.sinks.table.rewind import hand_over
from headrace.sinks.table.store import Store, carry_out

logger = logging.getLogger(__name__)

_TRIES = 5


def rewind(config: LoadConfig, topic: str, to: str | None, stop: Event, *, columns: str | None = None) -> int:
    """Fork, load until the table is reached, hand over. Without `to` it goes on with a rewind that was interrupted.

    Args:
        columns: `--columns-of`: the record with whose columns it begins.

    Raises:
        UsageError: there is no such table, or nothing to go back to.
        PeerError, StorageError: Kafka or the store failed; the rewind goes on when it is called again.
    """
    root, clock = config.load.root, SystemClock()
    if topic not in (known := tables(root)):
        raise unknown_table(topic, known)
    store = open_root(root).table(topic)
    fold = carry_out(read_head(), store)
    if fold.is_derived:
        raise UsageError(f"{topic} cannot be rewound: it is a job's output; run the job again")
    if to is not None:
        generation = _fork(config, store, topic, to, columns, clock)
    elif fold.fork is not None:
        generation = fold.fork.next
    else:
        raise UsageError(f"no rewind of {topic} is in progress; say where to go back to with --to")
    logger.info("landing again", extra={"topic": topic, "generation": generation})
    while not stop.is_set():
        loader = Loader(config, clock, once=True, landed=lambda topic: None, rewind=(topic, generation))  # noqa: ARG005
        with telling(loader.standings, once=True):
            loader.run(stop)
        if stop.is_set():
            break
        why = _hand_over(store, topic, generation, clock, stop)
        if why is None:
            print(f"{topic}: generation {generation} is the table now", file=sys.stderr)
            return 0
        logger.info("not yet: %s", why, extra={"topic": topic, "generation": generation})
        time.sleep(0.2)
    print(f"{topic}: stopped before the table was reached; go on with: headrace load --rewind {topic}", file=sys.stderr)
    return 1


def _fork(config: LoadConfig, store: Store, topic: str, to: str, columns: str | None, clock: Clock) -> int:
    wanted = parse_to(to, clock.wall_ms())
    begins = None if columns is None else columns_of(config, topic, parse_columns_of(columns), clock)
    why: int | str = ""
    for _ in range(_TRIES):
        fold: Fold = carry_out(read_head(), store)
        why = fork_table(store, find_targets(config.kafka, topic, fold, wanted), clock, columns=begins)
        if isinstance(why, int):
            return why
        logger.info("again: %s", why, extra={"topic": topic})
    raise PeerError(f"{topic} changes too fast to be rewound: {why}; stop its compaction, and try again")


def _hand_over(store: Store, topic: str, generation: int, clock: Clock, stop: Event) -> str | None:
    """Why the generation cannot take over yet; None if it has.

    Raises:
        UsageError: it never can.
    """
    following = carry_out(read_generation(generation), store)
    head = carry_out(read_head(), store)
    if head.generation < generation and (head.fork is None or head.fork.next != generation):
        raise UsageError(f"generation {generation} of {topic} has been given up for a later rewind")
    if lost := _newly_lost(head, following):
        raise UsageError(f"retention overtook the rewind: {lost}; the table stays as it is; begin again with a later --to")
    draft = CommitRecord("close", str(uuid.uuid4()), process_name(), clock.wall_ms())
    done = carry_out(hand_over(draft, following), store, clock, is_stopping=stop.is_set)
    return done.why if isinstance(done, Fenced) else None


def _newly_lost(head: Fold, following: Fold) -> str:
    """What the table has and the rewind has lost."""
    for lost in following.lost:
        known = any(
            (one.incarnation, one.partition) == (lost.incarnation, lost.partition)
            and one.gap.start <= lost.gap.start
            and one.gap.end >= lost.gap.end
            for one in head.lost
        )
        if not known and lost.gap.start < head.end(lost.incarnation, lost.partition):
            return f"offsets {lost.gap.start} to {lost.gap.end} of partition {lost.partition}"
    return ""

"""Which numbers of the broker's state Prometheus is shown: each family of `metric_families` beside its reading."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from operator import attrgetter
from typing import TYPE_CHECKING

from headrace.broker.compacting import CompactionCounts
from headrace.broker.groups.messages import GroupState
from headrace.broker.log.partition_log import PartitionLog
from headrace.broker.telemetry import metric_families as families
from headrace.broker.telemetry.metrics import MAX_SERIES, Durations, Labelled, Metrics
from headrace.clock import Clock

if TYPE_CHECKING:
    from headrace.broker.broker import Broker
    from headrace.broker.starting import Progress

_SAME_LOOK_MS = 500
_GROUP_STATES = (
    (families.GROUPS_PREPARING, GroupState.PREPARING_REBALANCE),
    (families.GROUPS_COMPLETING, GroupState.COMPLETING_REBALANCE),
    (families.GROUPS_STABLE, GroupState.STABLE),
    (families.GROUPS_EMPTY, GroupState.EMPTY),
)


def watch_broker(broker: "Broker") -> None:
    """Show the state of a broker that has loaded."""
    metrics = broker.metrics
    info = (version("headrace"), str(broker.node_id), broker.cluster_id)
    metrics.watch(families.INFO, lambda: [(info, 1)])
    _watch_traffic(metrics)
    _watch_requests(broker)
    _watch_logs(broker)
    _watch_holds(broker)
    _watch_groups(broker)


def watch_start(metrics: Metrics, progress: "Progress") -> None:
    """Show how far a start has come, before there is a broker; afterwards nothing is left."""
    metrics.watch(families.LOGS_TO_LOAD, lambda: progress.logs - progress.logs_done)
    metrics.watch(families.BYTES_TO_SCAN, lambda: progress.bytes - progress.bytes_done)


def _watch_traffic(metrics: Metrics) -> None:
    reading = metrics.traffic.reading
    metrics.watch(families.BYTES_IN, reading("bytes_in"))
    metrics.watch(families.BYTES_OUT, reading("bytes_out"))
    metrics.watch(families.MESSAGES_IN, reading("messages_in"))
    metrics.watch(families.PRODUCE_REQUESTS, reading("produce_requests"))
    metrics.watch(families.FETCH_REQUESTS, reading("fetch_requests"))
    metrics.watch(families.FAILED_PRODUCE, reading("failed_produce_requests"))
    metrics.watch(families.FAILED_FETCH, reading("failed_fetch_requests"))


def _by_label(counts: Mapping[str, int]) -> Labelled:
    return [((label,), count) for label, count in list(counts.items())]


def _watch_requests(broker: "Broker") -> None:
    metrics = broker.metrics

    def requests() -> Labelled:
        apis = metrics.apis()
        return [((name, str(version)), count) for name, times in apis for version, count in list(times.versions.items())]

    def times(which: str) -> Iterable[tuple[Sequence[str], Durations]]:
        return [((name,), getattr(times, which)) for name, times in metrics.apis()]

    metrics.watch(families.REQUESTS, requests)
    metrics.watch(families.REQUEST_ERRORS, lambda: [((name,), times.errors) for name, times in metrics.apis()])
    metrics.watch_durations(families.TOTAL_TIME, lambda: times("total"))
    metrics.watch_durations(families.LOCAL_TIME, lambda: times("local"))
    metrics.watch_durations(families.THROTTLE_TIME, lambda: times("throttle"))
    metrics.watch(families.CONNECTIONS, lambda: _by_label(metrics.connections))
    metrics.watch(families.CONNECTIONS_CLOSED, lambda: _by_label(metrics.connections_closed))
    metrics.watch(families.LOGINS, lambda: list(broker.logins.counts.items()))
    metrics.watch(families.DENIED, lambda: list(broker.denials.counts.items()))
    metrics.watch(families.RECEIVED_BYTES, lambda: metrics.bytes_in)
    metrics.watch(families.SENT_BYTES, lambda: metrics.bytes_out)


def _watch_logs(broker: "Broker") -> None:
    def by_partition(name: str) -> Labelled:
        value = attrgetter(name)
        return [((log.topic, str(log.partition)), value(log)) for log in logs()[:MAX_SERIES]]

    kept: list[PartitionLog] = []
    kept_ms = 0

    def logs() -> Sequence[PartitionLog]:
        """All logs; in order, which takes time with thousands, so they are listed once for the readings of one look."""
        nonlocal kept, kept_ms
        now_ms = broker.clock.monotonic_ms()
        if now_ms - kept_ms > _SAME_LOOK_MS:
            kept, kept_ms = broker.logs.all(), now_ms
        return kept

    def offline() -> int:
        return sum(log.fenced for log in logs())

    metrics = broker.metrics
    metrics.watch(families.PARTITIONS, lambda: len(logs()))
    metrics.watch(families.LEADERS, lambda: len(logs()) - offline())
    metrics.watch(families.OFFLINE_REPLICAS, offline)
    metrics.watch(families.OFFLINE_DIRECTORIES, lambda: broker.logs.offline_count)
    metrics.watch(families.FREE_BYTES, lambda: [((path,), space.free_bytes) for path, space in broker.logs.spaces()])
    metrics.watch(families.FLOOR_BYTES, lambda: [((path,), space.floor_bytes) for path, space in broker.logs.spaces()])
    metrics.watch_durations(families.FLUSHES, lambda: [((), metrics.flushes)])
    metrics.watch(families.LOG_SIZE, lambda: by_partition("size_bytes"))
    metrics.watch(families.LOG_START, lambda: by_partition("log_start_offset"))
    metrics.watch(families.LOG_END, lambda: by_partition("log_end_offset"))
    metrics.watch(families.UNLANDED_BYTES, lambda: by_partition("retirement.unlanded_deleted_bytes"))
    metrics.watch(families.UNLANDED_RECORDS, lambda: by_partition("retirement.unlanded_deleted_records"))
    metrics.watch(families.UNLISTED_PARTITIONS, lambda: max(len(logs()) - MAX_SERIES, 0))


def watch_compaction(metrics: Metrics, counts: CompactionCounts, clock: Clock) -> None:
    """Show what compaction does; the time since the last one counts from now on, until there is one."""
    began_ms = clock.wall_ms()
    metrics.watch(families.CLEANER_UNCLEANABLE, lambda: counts.uncleanable_partitions)
    metrics.watch(families.CLEANER_DIRTY, lambda: 100 * counts.max_dirty_ratio)
    metrics.watch(families.CLEANER_SINCE, lambda: clock.wall_ms() - (counts.last_ended_ms or began_ms))
    metrics.watch(families.CLEANER_TIME, lambda: counts.last_seconds)
    metrics.watch(families.CLEANER_RECOPIED, lambda: 100 * counts.last_written_share)
    metrics.watch(families.CLEANER_BUFFER, lambda: 100 * counts.last_key_map_share)
    metrics.watch(families.CLEANINGS, lambda: counts.cleanings)
    metrics.watch(families.CLEANINGS_FAILED, lambda: counts.failures)
    metrics.watch(families.CLEANER_READ, lambda: counts.bytes_read)
    metrics.watch(families.CLEANER_WRITTEN, lambda: counts.bytes_written)


def _watch_holds(broker: "Broker") -> None:
    def held() -> Labelled:
        measured = list(broker.holds.measured.items())[:MAX_SERIES]
        return [((topic, str(partition)), log.held_bytes) for (topic, partition), log in measured]

    def seconds() -> Labelled:
        measured = list(broker.holds.measured.items())[:MAX_SERIES]
        return [
            ((topic, str(partition), group), left)
            for (topic, partition), log in measured
            for group, left in log.seconds_until_retention.items()
        ]

    broker.metrics.watch(families.RETENTION_HELD, held)
    broker.metrics.watch(families.SECONDS_UNTIL_RETENTION, seconds)


def _watch_groups(broker: "Broker") -> None:
    def in_state(state: GroupState) -> int:
        return sum(group.state is state for group in broker.groups.groups())

    metrics = broker.metrics
    metrics.watch(families.GROUPS, lambda: sum(1 for _ in broker.groups.groups()))
    for family, state in _GROUP_STATES:
        metrics.watch(family, partial(in_state, state))
    metrics.watch(families.GROUP_OFFSETS, lambda: broker.groups.offsets_kept)
    metrics.watch(families.GENERATIONS, lambda: broker.groups.generations)
    metrics.watch(families.OFFSET_COMMITS, lambda: broker.groups.commits)

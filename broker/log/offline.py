"""The log of a partition whose files cannot be read: it answers KAFKA_STORAGE_ERROR to everything, and writes nothing."""

from uuid import UUID

from headrace.broker.log.config import LogConfig
from headrace.broker.log.disk import Disk
from headrace.broker.log.loaded import LoadedLog
from headrace.broker.log.partition_log import PartitionLog
from headrace.broker.log.producers import ProducerStates
from headrace.broker.log.segment import Segment
from headrace.broker.log.space import FreeSpace

NOWHERE = "/nowhere"


def offline_log(
    disk: Disk, topic: str, partition: int, topic_id: UUID, config: LogConfig, space: FreeSpace, now_ms: int
) -> PartitionLog:
    """A fenced log, of files that are in a directory which is offline, or cannot be loaded."""
    segment = Segment(disk, NOWHERE, 0, index_interval_bytes=config.index_interval_bytes, size=0)
    loaded = LoadedLog([segment], ProducerStates(), [(0, 0)], log_start_offset=0, recovery_point=0)
    log = PartitionLog(disk, NOWHERE, topic, partition, topic_id, config, space, loaded, {}, now_ms)
    log.fenced = True
    return log

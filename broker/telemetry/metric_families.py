"""Every metric of the broker. Names are Kafka's, as the JMX exporter's usual rules spell them; `headrace_broker_` is ours.

`docs/metrics.md` has the same table; a test compares them. Sources: Kafka's documentation, Monitoring; BrokerTopicMetrics,
RequestMetrics, LogManager, UnifiedLog, GroupMetadataManager.
"""

from headrace.broker.telemetry.metrics import Family

_TOPIC = ("topic",)
_PARTITION = ("topic", "partition")
_DIRECTORY = ("dir",)

# Traffic: the total has no label, and each topic its own series.
BYTES_IN = Family("kafka_server_brokertopicmetrics_bytesin_total", "counter", "Bytes of record batches appended", _TOPIC)
BYTES_OUT = Family("kafka_server_brokertopicmetrics_bytesout_total", "counter", "Bytes of record batches answered", _TOPIC)
MESSAGES_IN = Family("kafka_server_brokertopicmetrics_messagesin_total", "counter", "Records appended", _TOPIC)
PRODUCE_REQUESTS = Family(
    "kafka_server_brokertopicmetrics_totalproducerequests_total", "counter", "Partitions that Produce requests wrote to", _TOPIC
)
FETCH_REQUESTS = Family(
    "kafka_server_brokertopicmetrics_totalfetchrequests_total", "counter", "Partitions that Fetch requests asked for", _TOPIC
)
FAILED_PRODUCE = Family(
    "kafka_server_brokertopicmetrics_failedproducerequests_total",
    "counter",
    "The same that were answered with an error",
    _TOPIC,
)
FAILED_FETCH = Family(
    "kafka_server_brokertopicmetrics_failedfetchrequests_total", "counter", "The same that were answered with an error", _TOPIC
)

# Requests
REQUESTS = Family("kafka_network_requestmetrics_requests_total", "counter", "Requests handled", ("request", "version"))
REQUEST_ERRORS = Family(
    "headrace_broker_failed_requests_total",
    "counter",
    "Requests whose connection was closed for what they asked, or because their handler failed",
    ("request",),
)
TOTAL_TIME = Family(
    "kafka_network_requestmetrics_totaltimems", "histogram", "From when a request was read to its answer, ms", ("request",)
)
LOCAL_TIME = Family(
    "kafka_network_requestmetrics_localtimems",
    "histogram",
    "Of that, until it was answered or had to wait, ms",
    ("request",),
)
THROTTLE_TIME = Family(
    "kafka_network_requestmetrics_throttletimems",
    "histogram",
    "For how long clients over a quota were not read, ms",
    ("request",),
)

# Connections
CONNECTIONS = Family("kafka_server_socketservermetrics_connection_count", "gauge", "Open connections", ("listener",))
REQUEST_MEMORY = Family(
    "headrace_broker_request_memory_bytes",
    "gauge",
    "Bytes of requests in work or begun, and of answers that are not read",
)
REQUEST_MEMORY_LIMIT = Family(
    "headrace_broker_request_memory_limit_bytes", "gauge", "What these may be together; at it most connections are not read"
)
CONNECTIONS_MUTED = Family("headrace_broker_muted_connections", "gauge", "Connections that are not read: over a quota")
CONNECTIONS_CLOSED = Family(
    "headrace_broker_closed_connections_total", "counter", "Connections closed by the broker, by CloseReason", ("reason",)
)
LOGINS = Family(
    "headrace_broker_logins_total", "counter", "Logins over SASL, by `success` or why they failed", ("mechanism", "result")
)
DENIED = Family("headrace_broker_denied_total", "counter", "What was refused for want of a right", ("operation", "resource"))
RECEIVED_BYTES = Family("headrace_broker_received_bytes_total", "counter", "Bytes received from clients")
SENT_BYTES = Family("headrace_broker_sent_bytes_total", "counter", "Bytes sent to clients")

# Partitions and logs
PARTITIONS = Family("kafka_server_replicamanager_partitioncount", "gauge", "Partitions")
LEADERS = Family("kafka_server_replicamanager_leadercount", "gauge", "Partitions that this broker leads: those not offline")
OFFLINE_REPLICAS = Family(
    "kafka_server_replicamanager_offlinereplicacount", "gauge", "Partitions that are offline after a disk error"
)
OFFLINE_DIRECTORIES = Family("kafka_log_logmanager_offlinelogdirectorycount", "gauge", "Log directories that cannot be used")
FREE_BYTES = Family("headrace_broker_log_dir_free_bytes", "gauge", "Free space where a log directory is", _DIRECTORY)
FLOOR_BYTES = Family(
    "headrace_broker_log_dir_floor_bytes", "gauge", "With less free space than this, producers are refused", _DIRECTORY
)
LOG_SIZE = Family("kafka_log_log_size", "gauge", "Bytes of a partition's segments", _PARTITION)
LOG_START = Family("kafka_log_log_logstartoffset", "gauge", "First offset of a partition", _PARTITION)
LOG_END = Family("kafka_log_log_logendoffset", "gauge", "Next offset of a partition", _PARTITION)
RETENTION_HELD = Family(
    "headrace_broker_retention_held_bytes", "gauge", "Bytes that retention would delete if no group held them", _PARTITION
)
SECONDS_UNTIL_RETENTION = Family(
    "headrace_broker_seconds_until_retention",
    "gauge",
    "Until retention takes the first record that the group has not read, or but for the hold would have; +Inf if there is none",
    ("topic", "partition", "group"),
)
UNLANDED_BYTES = Family(
    "headrace_broker_unlanded_deleted_bytes_total", "counter", "Held bytes that went as the disk was nearly full", _PARTITION
)
UNLANDED_RECORDS = Family(
    "headrace_broker_unlanded_deleted_records_total", "counter", "Records among them that a group had not read", _PARTITION
)
UNLISTED_PARTITIONS = Family(
    "headrace_broker_unlisted_partitions", "gauge", "Partitions beyond the first 1,000, which have no series of their own"
)

# Compaction: as in Kafka, gauges of the last one
CLEANER_UNCLEANABLE = Family(
    "kafka_log_logcleanermanager_uncleanable_partitions_count",
    "gauge",
    "Partitions that are not compacted because a batch of theirs cannot be read",
)
CLEANER_DIRTY = Family(
    "kafka_log_logcleanermanager_max_dirty_percent", "gauge", "Dirty share of the dirtiest compacted log, percent"
)
CLEANER_SINCE = Family("kafka_log_logcleanermanager_time_since_last_run_ms", "gauge", "Since a log was compacted, ms")
CLEANER_TIME = Family("kafka_log_logcleaner_max_clean_time_secs", "gauge", "How long the last compaction took")
CLEANER_RECOPIED = Family(
    "kafka_log_logcleaner_cleaner_recopy_percent", "gauge", "Share of the bytes read that the last compaction wrote again"
)
CLEANER_BUFFER = Family(
    "kafka_log_logcleaner_max_buffer_utilization_percent", "gauge", "Share of the memory for keys that the last one took"
)
CLEANINGS = Family("headrace_broker_compactions_total", "counter", "Logs compacted")
CLEANINGS_FAILED = Family("headrace_broker_failed_compactions_total", "counter", "Compactions that came to nothing")
CLEANER_READ = Family("headrace_broker_compaction_read_bytes_total", "counter", "Bytes that compaction has read")
CLEANER_WRITTEN = Family("headrace_broker_compaction_written_bytes_total", "counter", "Bytes that compaction has written")

FLUSHES = Family("kafka_log_logflushstats_logflushrateandtimems", "histogram", "Fsyncs that produce requests wait for, ms")

# The start
LOGS_TO_LOAD = Family("kafka_log_logmanager_remaininglogstorecover", "gauge", "Logs that the start has still to load")
BYTES_TO_SCAN = Family("headrace_broker_start_bytes_left", "gauge", "Bytes that the start has still to scan, after a crash")

# Groups
GROUPS = Family("kafka_coordinator_group_groupmetadatamanager_numgroups", "gauge", "Consumer groups")
GROUPS_PREPARING = Family(
    "kafka_coordinator_group_groupmetadatamanager_numgroupspreparingrebalance", "gauge", "Groups that wait for members to join"
)
GROUPS_COMPLETING = Family(
    "kafka_coordinator_group_groupmetadatamanager_numgroupscompletingrebalance",
    "gauge",
    "Groups that wait for their leader's assignment",
)
GROUPS_STABLE = Family("kafka_coordinator_group_groupmetadatamanager_numgroupsstable", "gauge", "Groups at work")
GROUPS_EMPTY = Family("kafka_coordinator_group_groupmetadatamanager_numgroupsempty", "gauge", "Groups without members")
GROUP_OFFSETS = Family("kafka_coordinator_group_groupmetadatamanager_numoffsets", "gauge", "Committed offsets that are kept")
GENERATIONS = Family("headrace_broker_group_generations_total", "counter", "Rebalances of groups that came to their end")
OFFSET_COMMITS = Family("headrace_broker_offset_commits_total", "counter", "Offsets of partitions committed by consumers")

# The process
INFO = Family("headrace_broker_info", "gauge", "Always 1", ("version", "node_id", "cluster_id"))

"""Which API keys are served, and by whom. What is not here is neither advertised nor answered."""

from headrace.broker.handlers.acls import CREATE_ACLS, DELETE_ACLS, DESCRIBE_ACLS
from headrace.broker.handlers.alter_client_quotas import ALTER_CLIENT_QUOTAS
from headrace.broker.handlers.alter_configs import ALTER_CONFIGS, INCREMENTAL_ALTER_CONFIGS
from headrace.broker.handlers.api import Api
from headrace.broker.handlers.api_versions import API_VERSIONS
from headrace.broker.handlers.create_topics import CREATE_TOPICS
from headrace.broker.handlers.delete_records import DELETE_RECORDS
from headrace.broker.handlers.delete_topics import DELETE_TOPICS
from headrace.broker.handlers.describe_client_quotas import DESCRIBE_CLIENT_QUOTAS
from headrace.broker.handlers.describe_cluster import DESCRIBE_CLUSTER
from headrace.broker.handlers.describe_configs import DESCRIBE_CONFIGS
from headrace.broker.handlers.fetch import FETCH
from headrace.broker.handlers.find_coordinator import FIND_COORDINATOR
from headrace.broker.handlers.groups import DELETE_GROUPS, DESCRIBE_GROUPS, LIST_GROUPS
from headrace.broker.handlers.init_producer_id import INIT_PRODUCER_ID
from headrace.broker.handlers.list_offsets import LIST_OFFSETS
from headrace.broker.handlers.membership import HEARTBEAT, JOIN_GROUP, LEAVE_GROUP, SYNC_GROUP
from headrace.broker.handlers.metadata import METADATA
from headrace.broker.handlers.offset_for_leader_epoch import OFFSET_FOR_LEADER_EPOCH
from headrace.broker.handlers.offsets import OFFSET_COMMIT, OFFSET_DELETE, OFFSET_FETCH
from headrace.broker.handlers.produce import PRODUCE
from headrace.broker.handlers.sasl import SASL_AUTHENTICATE, SASL_HANDSHAKE
from headrace.broker.handlers.user_scram_credentials import ALTER_USER_SCRAM_CREDENTIALS, DESCRIBE_USER_SCRAM_CREDENTIALS

APIS: dict[int, Api] = {
    api.key: api
    for api in (
        SASL_HANDSHAKE,
        SASL_AUTHENTICATE,
        DESCRIBE_USER_SCRAM_CREDENTIALS,
        ALTER_USER_SCRAM_CREDENTIALS,
        PRODUCE,
        FETCH,
        LIST_OFFSETS,
        METADATA,
        API_VERSIONS,
        CREATE_TOPICS,
        DELETE_TOPICS,
        DELETE_RECORDS,
        INIT_PRODUCER_ID,
        OFFSET_FOR_LEADER_EPOCH,
        DESCRIBE_CONFIGS,
        ALTER_CONFIGS,
        INCREMENTAL_ALTER_CONFIGS,
        DESCRIBE_CLUSTER,
        FIND_COORDINATOR,
        JOIN_GROUP,
        SYNC_GROUP,
        HEARTBEAT,
        LEAVE_GROUP,
        OFFSET_COMMIT,
        OFFSET_FETCH,
        OFFSET_DELETE,
        DESCRIBE_GROUPS,
        LIST_GROUPS,
        DELETE_GROUPS,
        DESCRIBE_CLIENT_QUOTAS,
        ALTER_CLIENT_QUOTAS,
        DESCRIBE_ACLS,
        CREATE_ACLS,
        DELETE_ACLS,
    )
}

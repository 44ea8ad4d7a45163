"""Users for the parts of one machine's pipeline, each with the least rights; made in the store before the broker starts."""

import contextlib
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headrace.broker.config import BrokerConfig
from headrace.broker.coordination.changes import made_here
from headrace.broker.coordination.sqlite import SqliteStore
from headrace.broker.log.claims import claim_directories
from headrace.broker.log.disk import RealDisk
from headrace.broker.security.access import Operation, ResourceType
from headrace.broker.security.acls import AclBinding, PatternType, Permission
from headrace.broker.security.rules import AccessRules
from headrace.broker.security_on import SecurityFolder, give_users, prepare
from headrace.broker.starting import store_path

_Right = tuple[ResourceType, PatternType, str, tuple[Operation, ...]]
_SHIPS = (Operation.WRITE, Operation.CREATE)  # whoever may write a topic may also see it
_LANDS = (Operation.READ, Operation.DESCRIBE_CONFIGS)
_RIGHTS: Mapping[str, tuple[_Right, ...]] = {
    "agent": (
        (ResourceType.TOPIC, PatternType.LITERAL, "logs", _SHIPS),
        (ResourceType.TOPIC, PatternType.LITERAL, "_audit", _SHIPS),
        (ResourceType.TOPIC, PatternType.LITERAL, "_schemas", (Operation.WRITE,)),  # at the registry: to register
    ),
    "registry": (
        (ResourceType.TOPIC, PatternType.LITERAL, "_schemas", (*_SHIPS, *_LANDS)),
        (ResourceType.GROUP, PatternType.LITERAL, "headrace-registry", (Operation.READ,)),
    ),
    "load": (
        (ResourceType.TOPIC, PatternType.LITERAL, "*", _LANDS),
        (ResourceType.GROUP, PatternType.PREFIXED, "headrace-load", (Operation.READ,)),
    ),
}


def prepare_parts(broker: Mapping[str, Any], bootstrap: str) -> dict[str, dict[str, Any]]:
    """Make users with new passwords for agent, registry and loader, and what `security: on` makes.

    Args:
        broker: the configuration of a broker that is stopped, with `security: on`.
    Returns:
        librdkafka's keys of each part.
    Raises:
        UsageError, StorageError: a broker runs there, or its directory cannot be used.
    """
    config = BrokerConfig.model_validate(dict(broker))
    paths = [str(directory.absolute().resolve()) for directory in config.log_directories()]
    claims = claim_directories(RealDisk(), paths, config.node_id)
    with contextlib.ExitStack() as stack:
        stack.callback(claims.release)
        store = stack.enter_context(contextlib.closing(SqliteStore(store_path(config.coordination.path, paths, claims))))
        first = Path(claims.held[0].path)
        prepare(config, first, store, bootstrap)
        passwords = {part: secrets.token_urlsafe(24) for part in _RIGHTS}
        give_users(store, {_user(part): password for part, password in passwords.items()})
        made_here(AccessRules(store, config).add([rule for part in _RIGHTS for rule in _rules(part)]))
    files = SecurityFolder(first)
    return {part: files.client_keys(bootstrap, _user(part), password) for part, password in passwords.items()}


def _user(part: str) -> str:
    return f"headrace-{part}"


def _rules(part: str) -> list[AclBinding]:
    who = f"User:{_user(part)}"
    return [
        AclBinding(kind, pattern, name, who, "*", operation, Permission.ALLOW)
        for kind, pattern, name, operations in _RIGHTS[part]
        for operation in operations
    ]

"""AlterClientQuotas v0-1 (KIP-546): quotas set and taken away, durably and at once. v1 is flexible.

Each entity is changed whole or not at all, and by itself. `controller_mutation_rate` is not enforced here, so it is refused
rather than kept for nothing.
"""

import logging
from functools import partial
from typing import Any

from headrace.broker.broker import Broker
from headrace.broker.coordination.changes import Change
from headrace.broker.handlers.api import Api, RequestContext, Response
from headrace.broker.quotas.entities import Entity, Quotas, encode_key, encode_quotas, entity_of, value_fault
from headrace.broker.security.access import Operation
from headrace.broker.wire import ErrorCode
from headrace.errors import StorageError

logger = logging.getLogger(__name__)
_KIND = "quota"  # of the store's entries


async def _handle(broker: Broker, context: RequestContext, request: Any) -> Response:
    if not context.may_cluster(Operation.ALTER_CONFIGS):
        return {"entries": [_told(entry, ErrorCode.cluster_authorization_failed) for entry in request.entries]}
    return {"entries": await broker.changes.make(_altered(broker, context, request))}


def _altered(broker: Broker, context: RequestContext, request: Any) -> Change[list[dict[str, Any]]]:
    changes: dict[Entity, Quotas] = {}
    entries = []
    for entry in request.entries:
        parts = [(part.entity_type, part.entity_name) for part in entry.entity]
        changed = _changed(broker, parts, entry.ops, changes)
        if isinstance(changed, str):
            entries.append(_told(entry, ErrorCode.invalid_request, changed))
            continue
        entity, quotas = changed
        changes[entity] = quotas
        entries.append(_told(entry, ErrorCode.none))
    if changes and not request.validate_only:
        try:
            yield from _change(broker, context, changes)
        except StorageError as error:
            logger.error("quotas not changed: the store fails", extra={"error": str(error)})
            entries = [_told(entry, ErrorCode.kafka_storage_error, "the store fails") for entry in request.entries]
    return entries


def _changed(
    broker: Broker, parts: list[tuple[str, str | None]], ops: Any, changes: dict[Entity, Quotas]
) -> tuple[Entity, Quotas] | str:
    """The entity and its quotas as they will be, or what is wrong with the request."""
    entity = entity_of(parts)
    if isinstance(entity, str):
        return entity
    if entity in changes:
        return "Ignoring duplicate entity"
    if len({op.key for op in ops}) != len(ops):
        return "Duplicate quota key; not updating quota for this entity"
    quotas = dict(broker.quotas.book.of(entity))
    for op in ops:
        if op.remove:
            quotas.pop(op.key, None)
            continue
        fault = value_fault(entity, op.key, op.value)
        if fault is not None:
            return fault
        quotas[op.key] = op.value
    return entity, quotas


def _change(broker: Broker, context: RequestContext, changes: dict[Entity, Quotas]) -> Change[None]:
    stored = {encode_key(entity): encode_quotas(quotas) if quotas else None for entity, quotas in changes.items()}
    yield partial(broker.store.change_entries, _KIND, stored)
    for entity, quotas in changes.items():
        broker.quotas.book.replace(entity, quotas)
        logger.info("quota changed", extra={"entity": dict(entity), "quotas": quotas, "by": str(context.session.principal)})


def _told(entry: Any, error: int, message: str | None = None) -> dict[str, Any]:
    entity = [{"entity_type": part.entity_type, "entity_name": part.entity_name} for part in entry.entity]
    return {"error_code": error, "error_message": message, "entity": entity}


ALTER_CLIENT_QUOTAS = Api(49, "AlterClientQuotas", 0, 1, _handle)

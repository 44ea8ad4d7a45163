"""Routes under /v1/metadata: which registry this is."""

from typing import Final

from aiohttp import web

from headrace import __version__
from headrace.errors import PeerError
from headrace.schemas.refusals import RestError
from headrace.schemas.requests import REGISTRY, answer

routes = web.RouteTableDef()
_GROUP: Final = "schema-registry"  # by default Confluent's registries name their group so


@routes.get("/v1/metadata/id")
async def get_id(request: web.Request) -> web.Response:
    """The Kafka cluster that keeps its schemas."""
    try:
        cluster = await request.app[REGISTRY].log.cluster_id()
    except PeerError as error:
        raise RestError(503, 50301, str(error)) from error
    clusters = {"kafka-cluster": cluster, "schema-registry-cluster": _GROUP}
    return answer({"scope": {"path": [], "clusters": clusters}, "id": ""})


@routes.get("/v1/metadata/version")
async def get_version(_: web.Request) -> web.Response:
    """The version of this program."""
    return answer({"version": __version__, "commitId": "headrace"})

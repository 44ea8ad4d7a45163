"""The `containers` section of an input: logs of containers, as the kubelet and Docker keep them."""

import glob
from collections.abc import Mapping

from pydantic import Field

from headrace.config import Section


class ContainerKeys(Section):
    """Logs of containers (CRI, and Docker's json-file): texts are joined, stdout and stderr kept apart."""

    paths: list[str] = Field(
        ["/var/log/pods/*/*/*.log", "/var/log/pods/*/*/*.log.*", "/var/lib/docker/containers/*/*-json.log*"],
        min_length=1,
        description="globs of the logs; which container one is, its path tells",
    )
    own_pod: bool = Field(False, description="ship the logs of the agent's own pod, too (by $POD_NAME, or the host's name)")


def excluded(keys: ContainerKeys, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Globs of what is not shipped: what the kubelet is about to rename, and the agent's own pod's logs.

    Args:
        environment: `POD_NAME` names the pod; without it, in a cluster, the host's name does (but on the host's network).
    """
    being_made = ("*.log.*.tmp",)
    pod = environment.get("POD_NAME") or ("KUBERNETES_SERVICE_HOST" in environment and environment.get("HOSTNAME")) or ""
    if keys.own_pod or not pod:
        return being_made
    return (*being_made, f"*_{glob.escape(pod)}_*/*/*.log*", f"*/{glob.escape(pod)}_*.log")

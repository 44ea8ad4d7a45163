"""The `containers` section of an input: logs of containers, as the kubelet and Docker keep them."""

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

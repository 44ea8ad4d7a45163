"""Which container a log is, told by its path and by what lies beside it. Shell: looks, decides nothing.

The names: kubelet's /var/log/pods/<namespace>_<pod>_<uid>/<container>/<restart>.log and its links
/var/log/containers/<pod>_<namespace>_<container>-<id>.log (pkg/kubelet/kuberuntime), rotated `.log.<time>`; Docker's
/var/lib/docker/containers/<id>/<id>-json.log, rotated `.log.<n>`, with config.v2.json beside it.
"""

import glob
import json
import os
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.agents.container_keys import ContainerKeys

_POD = re.compile(
    r"/(?P<namespace>[^/_]+)_(?P<pod>[^/_]+)_(?P<pod_uid>[^/_]+)/(?P<container>[^/_]+)/(?P<restart>\d+)\.log(?:\.[^/]*)?\Z"
)
_LINK = re.compile(r"/(?P<pod>[^/_]+)_(?P<namespace>[^/_]+)_(?P<container>[^/]+)-(?P<container_id>[0-9a-f]{64})\.log\Z")
_DOCKER = re.compile(r"/(?P<container_id>[0-9a-f]{64})/(?P=container_id)-json\.log(?:\.[^/]*)?\Z")
_CONFIG_BYTES = 1024 * 1024
_LABEL_BYTES, _LABELS = 1024, 64  # what of a container's labels is taken
_KUBERNETES = {
    "io.kubernetes.pod.namespace": "namespace",
    "io.kubernetes.pod.name": "pod",
    "io.kubernetes.pod.uid": "pod_uid",
    "io.kubernetes.container.name": "container",
}


@lru_cache(maxsize=4096)
def container_of(path: str) -> Mapping[str, str]:
    """The fields that say which container wrote a log: as many of namespace, pod, pod_uid, container, container_id, restart,
    image and label.* as its path, the links at it and Docker's own file tell. Looked for once in a process."""
    fields: dict[str, str] = {}
    for name in _names(path):
        for form in (_POD, _LINK, _DOCKER):
            match = form.search(name)
            if match is not None:
                fields = {**match.groupdict(), **fields}
        if name.endswith(".log") and _DOCKER.search(name) is not None:
            fields = {**_docker(os.path.join(os.path.dirname(name), "config.v2.json")), **fields}
    if "pod" in fields and "container_id" not in fields:
        fields |= _linked(path, fields)
    return fields


def _names(path: str) -> Iterator[str]:
    """A path, and what it is a link to, step by step."""
    for _ in range(4):
        yield path
        try:
            path = os.path.join(os.path.dirname(path), os.readlink(path))
        except OSError:
            return


def _linked(path: str, fields: Mapping[str, str]) -> dict[str, str]:
    """The container's id, where one of the kubelet's links leads to this log (or led there before it was rotated)."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(path))))
    stem = glob.escape(f"{fields['pod']}_{fields['namespace']}_{fields['container']}")
    own = os.path.realpath(path[: path.rindex(".log") + 4])
    for link in glob.glob(os.path.join(root, "containers", stem + "-*.log")):
        match = _LINK.search(link)
        if match is not None and os.path.realpath(link) == own:
            return {"container_id": match["container_id"]}
    return {}


def _docker(file: str) -> dict[str, str]:
    try:
        with open(file, encoding="utf-8") as opened:
            config: Any = json.loads(opened.read(_CONFIG_BYTES))
        name, inner = config.get("Name"), config.get("Config") or {}
        labels = inner.get("Labels") or {}
        said = {name: value for name, value in labels.items() if isinstance(value, str) and len(value) <= _LABEL_BYTES}
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}
    fields = {field: said[label] for label, field in _KUBERNETES.items() if label in said}
    if isinstance(name, str) and name.strip("/"):
        fields.setdefault("container", name.strip("/"))
    if isinstance(inner.get("Image"), str):
        fields["image"] = inner["Image"]
    kept = [(label, value) for label, value in sorted(said.items()) if label not in _KUBERNETES][:_LABELS]
    return {**{f"label.{label}": value for label, value in kept}, **fields}


def excluded(keys: "ContainerKeys", environment: Mapping[str, str]) -> tuple[str, ...]:
    """Globs of what is not shipped: what the kubelet is about to rename, and the agent's own pod's logs.

    Args:
        environment: `POD_NAME` names the pod; without it, in a cluster, the host's name does (but on the host's network).
    """
    being_made = ("*.log.*.tmp",)
    pod = environment.get("POD_NAME") or ("KUBERNETES_SERVICE_HOST" in environment and environment.get("HOSTNAME")) or ""
    if keys.own_pod or not pod:
        return being_made
    return (*being_made, f"*_{glob.escape(pod)}_*/*/*.log*", f"*/{glob.escape(pod)}_*.log")

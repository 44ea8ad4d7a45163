"""What we read of the site's core-site.xml and hdfs-site.xml ourselves: which NameNodes there are, and how long they may take.

They are found as Hadoop's own scripts find them: in HADOOP_CONF_DIR, or else in HADOOP_HOME/etc/hadoop.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from xml.etree import ElementTree

RPC_TIMEOUT_KEY: Final = "ipc.client.rpc-timeout.ms"
RPC_TIMEOUT_MS: Final = 30_000
"""Where the site says nothing. Hadoop replaces a NameNode that was silent for 45 s (`ha.health-monitor.rpc-timeout.ms`)."""
_ATTEMPTS_KEY: Final = "dfs.client.failover.max.attempts"


@dataclass(frozen=True, slots=True)
class Address:
    """A NameNode: its name for people, and what hdfs-native is to be told beside the site's files so that it asks no other."""

    name: str
    settings: dict[str, str]


def settings() -> dict[str, str]:
    """What the files say, as far as they can be read here (not, where they include others)."""
    directory = os.environ.get("HADOOP_CONF_DIR") or os.path.join(os.environ.get("HADOOP_HOME", ""), "etc", "hadoop")
    found: dict[str, str] = {}
    for file in ("core-site.xml", "hdfs-site.xml"):
        try:
            root = ElementTree.parse(Path(directory) / file).getroot()  # noqa: S314 - Hadoop trusts it, too
        except (OSError, ElementTree.ParseError):
            continue
        for entry in root.iter("property"):
            found[(entry.findtext("name") or "").strip()] = (entry.findtext("value") or "").strip()
    return found


def rpc_timeout_s(site: dict[str, str]) -> float:
    """For how long a NameNode may be silent, in seconds; the site's 0, which is for ever, is not taken."""
    text = site.get(RPC_TIMEOUT_KEY, "")
    return (int(text) if text.isdecimal() and int(text) else RPC_TIMEOUT_MS) / 1000


def bounds(site: dict[str, str]) -> dict[str, str]:
    """What bounds a call of Hadoop's own client, which goes through its NameNodes by itself, to three minutes.

    By default one that hangs is waited for for two minutes, and before Hadoop 3.4 for ever; and fifteen are asked in turn.
    """
    return {RPC_TIMEOUT_KEY: f"{rpc_timeout_s(site) * 1000:.0f}", _ATTEMPTS_KEY: site.get(_ATTEMPTS_KEY, "5")}


def name_nodes(url: str, site: dict[str, str]) -> tuple[Address, ...]:
    """The NameNodes behind `hdfs://HOST:PORT`, `hdfs://NAMESERVICE`, or "", the site's default file system.

    One, without settings, where hdfs-native alone knows what stands there: a view, or names that stand for several hosts.
    """
    url = url or site.get("fs.defaultFS", "")
    service = urlsplit(url).netloc
    ids = [one.strip() for one in site.get(f"dfs.ha.namenodes.{service}", "").split(",") if one.strip()]
    if ids and site.get(f"dfs.client.failover.resolve-needed.{service}", "").lower() != "true":
        return tuple(
            Address(
                f"{one} ({site.get(f'dfs.namenode.rpc-address.{service}.{one}', 'without an address')})",
                {f"dfs.ha.namenodes.{service}": one, _ATTEMPTS_KEY: "0"},
            )
            for one in ids
        )
    return (Address(service or "the default file system", {_ATTEMPTS_KEY: "0"} if ":" in service else {}),)

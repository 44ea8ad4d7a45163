"""What a configuration says of a syslog input."""

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, model_validator

from headrace.agents.sources.keys import Mode
from headrace.agents.sources.tls_keys import TlsKeys
from headrace.config_values import HostPort

if TYPE_CHECKING:
    from headrace.agents.sources.doors import Door

MEBIBYTE = 1 << 20


class SyslogKeys(TlsKeys):
    """Where messages are taken in: one or more of udp, tcp, tls, unix, unix_stream."""

    udp: HostPort | None = Field(
        None, description="datagrams (RFC 5426) are taken in at this host:port; lost where the kernel is full"
    )
    tcp: HostPort | None = Field(None, description="streams (RFC 6587, octets counted or lines) are taken in at this host:port")
    tls: HostPort | None = Field(None, description="streams over TLS (RFC 5425) are taken in at this host:port")
    unix: Path | None = Field(None, description="datagrams of this machine are taken in at this socket, as at /dev/log")
    unix_stream: Path | None = Field(None, description="streams of this machine are taken in at this socket")
    unix_mode: Mode = Field("0666", description="who may write to the sockets of unix and unix_stream")
    max_message_bytes: int = Field(64 * 1024, ge=1024, le=MEBIBYTE, description="a longer message is shipped in pieces")
    max_connections: int = Field(
        256, ge=1, le=10_000, description="senders that are connected at a time; one more is turned away"
    )
    idle_timeout_s: float = Field(3600, gt=0, description="a sender that is connected and silent for so long is hung up on, s")
    udp_buffer_bytes: int = Field(
        8 * MEBIBYTE, ge=4096, description="what the kernel is asked to keep of datagrams while they wait to be taken in"
    )

    @model_validator(mode="after")
    def _listens_somewhere(self) -> "SyslogKeys":
        if not any((self.udp, self.tcp, self.tls, self.unix, self.unix_stream)):
            raise ValueError("it listens nowhere; name one of udp, tcp, tls, unix, unix_stream")
        if (self.tls is None) != (self.ssl_keystore_location is None):
            raise ValueError("tls and ssl.keystore.location need each other; give both, or neither")
        return self

    def doors(self, name: str) -> "list[Door]":
        """Where messages come in, of the input of that name."""
        from headrace.agents.sources.listening import syslog_doors  # asyncio, which a check does without

        return syslog_doors(self, name)

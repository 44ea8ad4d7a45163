"""What a configuration says of TLS where an input listens."""

from pathlib import Path

from pydantic import Field, SecretStr

from headrace.config import Section


class TlsKeys(Section):
    """The server's certificate, and whose clients may connect."""

    ssl_keystore_location: Path | None = Field(
        None,
        alias="ssl.keystore.location",
        description="TLS, with the key and certificates of this PEM file; read again when it changes",
    )
    ssl_key_password: SecretStr | None = Field(None, alias="ssl.key.password", description="of the private key in that file")
    ssl_truststore_location: Path | None = Field(
        None,
        alias="ssl.truststore.location",
        description="PEM file with authorities: who connects over TLS needs a certificate of one of them",
    )

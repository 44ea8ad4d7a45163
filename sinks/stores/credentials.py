"""Credentials of object stores: whether obstore will find any, and if not, what to set.

It looks into the environment. Where that holds none it asks the machine for its role, at an address that exists only in the
provider's own cloud: elsewhere that takes its time, and its answer speaks of an address that nobody has heard of.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from headrace.errors import UsageError


@dataclass(frozen=True, slots=True)
class _Provider:
    asks: tuple[str, ...]
    """Parts of the URLs at which obstore asks the machine."""
    variables: tuple[str, ...]
    """With one of these in the environment it does not."""
    remedy: str


_AMAZON: Final = _Provider(
    ("/latest/api/token", "/latest/meta-data/"),
    (
        "AWS_ACCESS_KEY_ID",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_SKIP_SIGNATURE",
    ),
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN, where they are a session's)",
)
_AZURE: Final = _Provider(
    ("/metadata/identity/",),
    ("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_SAS_TOKEN", "AZURE_CLIENT_SECRET", "AZURE_FEDERATED_TOKEN_FILE"),
    "set AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN, or AZURE_CLIENT_ID, AZURE_CLIENT_SECRET and AZURE_TENANT_ID",
)
_BY_SCHEME: Final = {"s3": _AMAZON, "abfs": _AZURE, "abfss": _AZURE}


def none(remedy: str) -> str:
    """What is said where there are none."""
    return f"no credentials in the environment, and this machine has no role: {remedy}"


def remedy(error: BaseException) -> str | None:
    """What to set, if obstore found no credentials in the environment, and the machine gave none; else None."""
    said = str(error)
    for provider in (_AMAZON, _AZURE):
        if any(part in said for part in provider.asks):
            return none(provider.remedy)
    return None


def demand(scheme: str, url: str, ask: Callable[[], object]) -> None:
    """See that there are credentials, or a machine that gives some.

    Args:
        ask: asks the store for anything, once and not for long; only called where the environment holds no credentials.
    Raises:
        UsageError: there are none.
    """
    if any(os.environ.get(name) for name in _BY_SCHEME[scheme].variables):
        return
    try:
        ask()
    except Exception as error:  # what else may be wrong, whoever uses the store will hear
        if missing := remedy(error):
            raise UsageError(f"{url}: {missing}; see docs/stores.md") from error

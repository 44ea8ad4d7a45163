"""What no message may show of a configuration."""

import re

_USER_INFO = re.compile(r"//[^/@\s]*@")  # name and password in a URL
_SECRET = re.compile(
    r"password|secret|bearer\.token|keystore\.key|user\.info|ssl\.key\.pem|oauthbearer\.config"
)  # in the name of a key whose value is never shown


def without_user_info(text: str) -> str:
    """A text whose URLs show no name and password."""
    return _USER_INFO.sub("//…@", text)


def is_secret(key: str) -> bool:
    """Whether a key's value is one that nobody else may see."""
    return _SECRET.search(key) is not None

"""Who a client's certificate says it is: its subject as Java writes it, and the rules that make a user's name of that. Pure.

ACLs and `super.users` written for Apache Kafka name such clients as Java's `X500Principal.getName()` does (RFC 2253): the last
part first, nine attributes by name, all others by number and their encoding in hex. Rules are those of Kafka's
SslPrincipalMapper: `DEFAULT`, or `RULE:pattern/replacement/`, with L or U behind it for lower or upper case.
"""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a tenth of a second to load: when first needed
    from cryptography import x509

_NAMED = {
    "2.5.4.3": "CN",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.9": "STREET",
    "0.9.2342.19200300.100.1.25": "DC",
    "0.9.2342.19200300.100.1.1": "UID",
}
_RULE = re.compile(r"\s*(?:(DEFAULT)|RULE:((?:\\.|[^\\/])*)/((?:\\.|[^\\/])*)/([LU]?))\s*(?:,|$)")
_REFERENCE = re.compile(r"\\(.)|\$(\d+)")
_UTF_16 = 30  # the tag of a BMPString; the other kinds are kept in UTF-8 or a part of it


def subject_name(certificate: bytes) -> str:
    """The subject of a certificate in DER, as Java writes it.

    Raises:
        ValueError: it cannot be parsed.
    """
    from cryptography import x509

    subject = x509.load_der_x509_certificate(certificate).subject
    return ",".join("+".join(_attribute(each) for each in part) for part in reversed(list(subject.rdns)))


def _attribute(attribute: "x509.NameAttribute[str | bytes]") -> str:
    name, value = _NAMED.get(attribute.oid.dotted_string), attribute.value
    if name is not None and isinstance(value, str):
        return f"{name}={_escaped(value)}"
    tag = attribute._type.value  # the one thing of it that has no public name
    data = value if isinstance(value, bytes) else value.encode("utf-16-be" if tag == _UTF_16 else "utf-8")
    return f"{attribute.oid.dotted_string}=#{(_der_header(tag, len(data)) + data).hex()}"


def _der_header(tag: int, size: int) -> bytes:
    if size < 0x80:
        return bytes((tag, size))
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length


def _escaped(value: str) -> str:
    text = re.sub(r'[,=+<>#;"\\]', r"\\\g<0>", value)
    begin, end = len(text) - len(text.lstrip(" ")), len(text) - len(text.rstrip(" "))
    if begin == len(text):
        return r"\ " * begin
    return r"\ " * begin + text.strip(" ") + r"\ " * end


class PrincipalMapper:
    """The rules of `ssl.principal.mapping.rules`."""

    def __init__(self, rules: str) -> None:
        """
        Raises:
            ValueError: not so written, or a pattern that is none.
        """
        self._rules: list[Callable[[str], str | None]] = []
        position = 0
        while position < len(rules.rstrip()):
            match = _RULE.match(rules, position)
            if match is None:
                raise ValueError("write rules as DEFAULT or RULE:pattern/replacement/, with L or U behind, and commas between")
            self._rules.append(str if match[1] else _rule(match[2], match[3], match[4]))
            position = match.end()

    def name(self, subject: str) -> str | None:
        """The user's name that the first rule that fits makes of a subject; None where none fits."""
        return next((name for rule in self._rules if (name := rule(subject)) is not None), None)


def _rule(pattern: str, replacement: str, case: str) -> Callable[[str], str | None]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"RULE:{pattern}: {error}") from error

    def apply(subject: str) -> str | None:
        match = compiled.fullmatch(subject)
        if match is None:
            return None
        name = _replaced(match, replacement)
        return name.lower() if case == "L" else name.upper() if case == "U" else name

    return apply


def _replaced(match: re.Match[str], replacement: str) -> str:
    """The replacement with its references to groups: of `$12`, where there are fewer groups, `$1` is one and 2 is text."""

    def one(reference: re.Match[str]) -> str:
        if reference[1] is not None:
            return reference[1]
        digits = reference[2]
        for end in range(len(digits), 0, -1):
            if int(digits[:end]) <= len(match.groups()):
                return (match[int(digits[:end])] or "") + digits[end:]
        return f"${digits}"

    return _REFERENCE.sub(one, replacement)

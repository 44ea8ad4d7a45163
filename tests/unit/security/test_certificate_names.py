"""What a certificate's subject is called, as Java calls it, and what Kafka's rules make of it."""

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from headrace.broker.security.certificate_names import PrincipalMapper, subject_name
from headrace.broker.security.certificates import new_authority, sign

NOW = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
Parts = list[list[tuple[x509.ObjectIdentifier, str]]]


def named(parts: Parts) -> str:
    rdns = [x509.RelativeDistinguishedName([x509.NameAttribute(oid, value) for oid, value in part]) for part in parts]
    certificate = sign(new_authority("ca", now=NOW), x509.Name(rdns), now=NOW).certificate
    return subject_name(certificate.public_bytes(Encoding.DER))


@pytest.mark.parametrize(
    ("parts", "name"),  # names: what Java 21's X500Principal.getName() said of the same certificates
    [
        (
            [
                [(NameOID.COUNTRY_NAME, "DE")],
                [(NameOID.ORGANIZATION_NAME, 'A, B+C="x";<y>\\z')],
                [(NameOID.COMMON_NAME, "#lead")],
            ],
            r"CN=\#lead,O=A\, B\+C\=\"x\"\;\<y\>\\z,C=DE",
        ),
        (
            [
                [(NameOID.COMMON_NAME, " two  spaces ")],
                [(NameOID.EMAIL_ADDRESS, "a@b.c")],
                [(NameOID.USER_ID, "u1"), (NameOID.COMMON_NAME, "multi")],
            ],
            r"CN=multi+UID=u1,1.2.840.113549.1.9.1=#16056140622e63,CN=\ two  spaces\ ",
        ),
        (
            [
                [(NameOID.COMMON_NAME, "grüße")],
                [(NameOID.SERIAL_NUMBER, "123")],
                [(NameOID.TITLE, "Dr")],
                [(NameOID.STREET_ADDRESS, "s 1")],
                [(NameOID.DOMAIN_COMPONENT, "example")],
                [(NameOID.LOCALITY_NAME, "L")],
                [(NameOID.STATE_OR_PROVINCE_NAME, "S=T#x")],
            ],
            r"ST=S\=T\#x,L=L,DC=example,STREET=s 1,2.5.4.12=#0c024472,2.5.4.5=#1303313233,CN=grüße",
        ),
        ([[(NameOID.COMMON_NAME, "  ")]], r"CN=\ \ "),
    ],
)
def test_a_subject_is_called_as_java_calls_it(parts: Parts, name: str) -> None:
    assert named(parts) == name


@pytest.mark.parametrize(
    ("rules", "subject", "name"),
    [
        ("DEFAULT", "CN=Duke,OU=Java,O=Oracle,C=US", "CN=Duke,OU=Java,O=Oracle,C=US"),
        ("RULE:^CN=(.*?),OU=ServiceUsers.*$/$1/", "CN=kafka,OU=ServiceUsers,C=US", "kafka"),
        ("RULE:^CN=(.*?),OU=(.*?),O=(.*?),L=(.*?),ST=(.*?),C=(.*?)$/$1@$2/L", "CN=Me,OU=A,O=B,L=C,ST=D,C=E", "me@a"),
        ("RULE:^cn=(.*?),.*$/$1/L, DEFAULT", "CN=Duke,C=US", "CN=Duke,C=US"),
        ("RULE:^CN=(.*?),.*$/$1/U", "CN=Duke,C=US", "DUKE"),
        ("RULE:^CN=(\\w+),.*$/a\\/b$1$2$13/", "CN=Duke,C=US", "a/bDuke$2Duke3"),
        ("RULE:^CN=other$/x/", "CN=Duke", None),
        ("RULE:CN=Du/x/", "CN=Duke", None),
    ],
)
def test_the_first_rule_that_fits_makes_the_name(rules: str, subject: str, name: str | None) -> None:
    assert PrincipalMapper(rules).name(subject) == name


@pytest.mark.parametrize("rules", ["default", "RULE:a", "RULE:a/b/c", "DEFAULT/L", "RULE:a/b/L DEFAULT", "RULE:(/b/"])
def test_rules_that_are_none_are_refused(rules: str) -> None:
    with pytest.raises(ValueError, match="RULE"):
        PrincipalMapper(rules)

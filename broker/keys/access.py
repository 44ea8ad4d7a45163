"""Who may do what: the keys of the authorizer."""

from typing import Literal

from pydantic import Field, field_validator

from headrace.config import Section

STANDARD_AUTHORIZER = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"


class AccessKeys(Section):
    """The authorizer."""

    authorizer_class_name: Literal["", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"] = Field(
        "",
        alias="authorizer.class.name",
        description="Kafka's own name of the one there is: access rules (ACLs) decide what a client may do, and what none "
        "allows is denied; empty: everybody may do everything",
    )
    super_users: str = Field(
        "", alias="super.users", description="who may do everything, whatever rules say: `User:admin;User:operator`"
    )
    allow_everyone_if_no_acl_found: bool = Field(
        False,
        alias="allow.everyone.if.no.acl.found",
        description="whether everybody may do everything to a resource that no rule concerns",
    )

    @field_validator("super_users")
    @classmethod
    def _are_principals(cls, value: str) -> str:
        for word in parse_super_users(value):
            kind, colon, name = word.partition(":")
            if not (kind and colon and name):
                raise ValueError("write each as Type:name, as in User:admin, with ';' between them")
        return value


def parse_super_users(text: str) -> list[str]:
    """The principals in `User:admin;User:operator`, as text."""
    return [word.strip() for word in text.split(";") if word.strip()]

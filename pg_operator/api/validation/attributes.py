"""The rules for a role's attributes. Pure."""

from typing import Final

from pg_operator.api.errors import Problem
from pg_operator.api.fields import Field
from pg_operator.api.values import valid_until_problem

ATTRIBUTES: Final = ("CREATEDB", "CREATEROLE", "REPLICATION", "BYPASSRLS")
# CREATE ROLE in the PostgreSQL documentation; nobody who has it can be held back.
SUPERUSER: Final = "SUPERUSER"


def check_attributes(attributes: Field) -> None:
    """Check a list of attributes, of a role or of what a cluster allows."""
    seen: set[str] = set()
    for attribute in attributes.entries(most=len(ATTRIBUTES)):
        if attribute.value == SUPERUSER:
            detail = "may not be given, for a superuser is never managed; remove it"
            attribute.refuse(Problem("superuser", detail, "FieldValueForbidden"))
            continue
        attribute.check_choice(*ATTRIBUTES)
        if isinstance(attribute.value, str):
            if attribute.value in seen:
                detail = "must be listed once"
                attribute.refuse(Problem("duplicate", detail, "FieldValueDuplicate"))
            seen.add(attribute.value)


def check_allowed_attributes(allowed: Field) -> None:
    """Check what an administrator lets the roles of every namespace have."""
    check_attributes(allowed)
    if "CREATEROLE" in allowed.texts():
        allowed.warn(
            "before PostgreSQL 16 a role with CREATEROLE can take over every role that "
            "is no superuser"
        )


def check_role_properties(spec: Field) -> None:
    """Check what kind of role it is to be."""
    spec["inherit"].check_boolean()
    check_attributes(spec["attributes"])
    spec["validUntil"].check_text(valid_until_problem)

"""The rules for memberships: `memberOf` and `allowedMemberships`. Pure."""

from typing import Final

from pg_operator.api.errors import Problem
from pg_operator.api.fields import Field
from pg_operator.api.names import RESERVED, referred_name_problem

MOST_MEMBERSHIPS: Final = 64
# Whoever has one of these reads, writes or runs what it likes on the server's host.
HOST_ROLES: Final = frozenset(
    {
        "pg_execute_server_program",
        "pg_read_server_files",
        "pg_write_server_files",
    }
)
# PostgreSQL documentation, "Predefined Roles": pg_authid is data, too.
READS_VERIFIERS: Final = "pg_read_all_data"


def check_member_of(spec: Field) -> None:
    """Check what a role is to be a member of."""
    own = spec["roleName"].value
    entries = spec["memberOf"].entries(most=MOST_MEMBERSHIPS, list_key="role")
    for entry in entries:
        role = entry["role"].require("must be the name of a role")
        role.check_text(group_problem)
        if isinstance(own, str) and role.value == own:
            detail = "must be another role; a role cannot be a member of itself"
            role.refuse(Problem("member-of-itself", detail))
        for option in ("inherit", "set", "admin"):
            entry[option].check_boolean()


def check_allowed_memberships(allowed: Field) -> None:
    """Check the roles that an administrator lets every namespace join."""
    seen: set[str] = set()
    for role in allowed.entries(most=MOST_MEMBERSHIPS):
        role.check_text(group_problem)
        if not isinstance(role.value, str):
            continue
        if role.value in seen:
            detail = "must be listed once"
            role.refuse(Problem("duplicate", detail, "FieldValueDuplicate"))
        seen.add(role.value)
        if role.value == READS_VERIFIERS:
            role.warn("its members can read the password hashes of every role")


def group_problem(name: str) -> Problem | None:
    """Return why nobody may become a member of the role of this name."""
    if name in HOST_ROLES:
        detail = (
            "may not be granted, for it gives access to the server's host; remove it"
        )
        return Problem("host-role", detail, "FieldValueForbidden")
    if name in RESERVED["role"]:
        detail = "must not be a reserved role name; choose another name"
        return Problem("name-reserved", detail)
    return referred_name_problem(name)

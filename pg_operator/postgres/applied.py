"""What came of carrying out a plan: how much was written, and what was left undone."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from pg_operator.plan.grants import Grants
from pg_operator.plan.operations import (
    AlterDatabaseOwner,
    AlterExtensionSchema,
    AlterExtensionVersion,
    AlterSchemaOwner,
    CreateExtension,
    CreateSchema,
    Entitlement,
    RevokePublicOnSchema,
    Separable,
    SetDatabaseParameter,
    takes_away,
)
from pg_operator.plan.privileges import GrantPrivileges, RevokePrivileges
from pg_operator.plan.state import Pending
from pg_operator.postgres.errors import MissingPrivilege, PostgresError

NOT_EFFECTIVE: Final = "NotEffective"


@dataclass(frozen=True, slots=True)
class Applied:
    """What came of a plan: what is still pending, and how many statements wrote.

    `ungranted` are the single privileges that were to be granted and are not held.
    """

    pending: tuple[Pending, ...] = ()
    statements: int = 0
    revokes_undone: bool = False
    ungranted: Grants = frozenset()

    def __add__(self, other: "Applied") -> "Applied":
        return Applied(
            self.pending + other.pending,
            self.statements + other.statements,
            self.revokes_undone or other.revokes_undone,
            self.ungranted | other.ungranted,
        )


def left_undone(operation: Separable, error: PostgresError) -> Applied:
    """Say of an operation that PostgreSQL refused what is missing now."""
    message = str(error)
    changes_owner = isinstance(operation, AlterDatabaseOwner | AlterSchemaOwner)
    if changes_owner and isinstance(error, MissingPrivilege):
        message += "; make the operator's login a member of that role"
    return Applied(
        pending=(Pending(path_of(operation), error.reason, message),),
        revokes_undone=takes_away(operation),
        ungranted=(
            operation.grants()
            if isinstance(operation, GrantPrivileges)
            else frozenset()
        ),
    )


def without_effect(wrong: Grants, *, is_grant: bool) -> Iterator[Pending]:
    """Say of each object what could not be granted or revoked on it."""
    by_object = groupby(sorted(wrong), key=lambda grant: grant.on)
    for on, grants in by_object:
        what = ", ".join(map(str, grants))
        message = (
            f"{what} on {on} could not be granted: the operator's login may not pass "
            "it on; make the login a member of the owner of the object"
            if is_grant
            else f"{what} on {on} could not be revoked: another role granted it;"
            " revoke it as that role"
        )
        yield Pending(str(on), NOT_EFFECTIVE, message)


def path_of(operation: Separable) -> str:
    """Name the object on the server, or the entry of the spec, that it is about."""
    if isinstance(operation, Entitlement):
        return operation.path
    match operation:
        case GrantPrivileges() | RevokePrivileges():
            return str(operation.on[0])
        case (
            CreateSchema(database, name)
            | RevokePublicOnSchema(database, name)
            | CreateExtension(database, name)
            | AlterExtensionVersion(database, name)
            | AlterExtensionSchema(database, name)
        ):
            return f"{database}.{name}"
        case AlterSchemaOwner(database, name):
            return f"{database}.{name}: owner"
        case AlterDatabaseOwner(name):
            return f"{name}: owner"
        case SetDatabaseParameter(name, parameter):
            return f"{name}: {parameter}"

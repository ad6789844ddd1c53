"""The writes that a plan is made of, as values. Pure.

`postgres.render` turns each into one SQL statement. An operation names the database it
must run in (`database`), or None when any database will do because it writes shared
catalogs; the maintenance database is used then.
"""

from pg_operator.plan.operations.database import (
    AlterDatabase,
    AlterDatabaseOwner,
    AlterExtensionSchema,
    AlterExtensionVersion,
    AlterSchemaOwner,
    CreateDatabase,
    CreateExtension,
    CreateSchema,
    DropDatabase,
    ResetDatabaseParameter,
    RevokePublicOnDatabase,
    RevokePublicOnSchema,
    SetDatabaseParameter,
)
from pg_operator.plan.operations.marks import (
    MarkDatabase,
    MarkRole,
)
from pg_operator.plan.operations.role import (
    AlterRole,
    CreateRole,
    DropOwned,
    DropRole,
    GrantMembership,
    GrantRoleToSelf,
    ReassignOwned,
    RevokeMembership,
    SetRoleAttribute,
    SetRoleParameter,
    TerminateSessions,
)
from pg_operator.plan.privileges import GrantPrivileges, RevokePrivileges

__all__ = [
    "AlterDatabase",
    "AlterDatabaseOwner",
    "AlterExtensionSchema",
    "AlterExtensionVersion",
    "AlterRole",
    "AlterSchemaOwner",
    "CreateDatabase",
    "CreateExtension",
    "CreateRole",
    "CreateSchema",
    "DropDatabase",
    "DropOwned",
    "DropRole",
    "Entitlement",
    "GrantMembership",
    "GrantRoleToSelf",
    "MarkDatabase",
    "MarkRole",
    "Operation",
    "ReassignOwned",
    "ResetDatabaseParameter",
    "RevokeMembership",
    "RevokePublicOnDatabase",
    "RevokePublicOnSchema",
    "Separable",
    "SetDatabaseParameter",
    "SetRoleAttribute",
    "SetRoleParameter",
    "TerminateSessions",
    "takes_away",
]

Entitlement = SetRoleAttribute | SetRoleParameter | GrantMembership | RevokeMembership
Operation = (
    CreateDatabase
    | AlterDatabase
    | AlterDatabaseOwner
    | SetDatabaseParameter
    | ResetDatabaseParameter
    | MarkDatabase
    | RevokePublicOnDatabase
    | DropDatabase
    | CreateSchema
    | AlterSchemaOwner
    | CreateExtension
    | AlterExtensionVersion
    | AlterExtensionSchema
    | RevokePublicOnSchema
    | CreateRole
    | AlterRole
    | GrantRoleToSelf
    | SetRoleAttribute
    | SetRoleParameter
    | GrantMembership
    | RevokeMembership
    | MarkRole
    | GrantPrivileges
    | RevokePrivileges
    | TerminateSessions
    | ReassignOwned
    | DropOwned
    | DropRole
)

# What may be left undone and reported as pending while the rest of its batch commits.
# Any other failure undoes the batch: nothing is opened unmarked, and no password
# changes without its fingerprint.
Separable = (
    AlterDatabaseOwner
    | SetDatabaseParameter
    | CreateSchema
    | AlterSchemaOwner
    | CreateExtension
    | AlterExtensionVersion
    | AlterExtensionSchema
    | RevokePublicOnSchema
    | Entitlement
    | GrantPrivileges
    | RevokePrivileges
)


def takes_away(operation: Operation) -> bool:
    """Tell whether an operation takes something from a role: it must not wait."""
    match operation:
        case RevokePrivileges() | RevokeMembership():
            return True
        case SetRoleAttribute(on=False) | SetRoleParameter(value=None):
            return True
    return False

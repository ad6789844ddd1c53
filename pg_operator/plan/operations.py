"""The writes that a plan is made of, as values. Pure.

`postgres.render` turns each into one SQL statement. An operation names the database it
must run in (`database`), or None when any database will do because it writes shared
catalogs; the maintenance database is used then.
"""

from dataclasses import dataclass, field

from pg_operator.plan.privileges import GrantPrivileges, RevokePrivileges
from pg_operator.plan.state import (
    Locale,
    Mark,
    Membership,
    Password,
    RoleParameter,
    membership_path,
)


@dataclass(frozen=True, slots=True)
class CreateDatabase:
    """CREATE DATABASE … TEMPLATE, closed, with our sentinel limit."""

    name: str
    encoding: str | None
    sentinel: int
    template: str = "template0"
    locale: Locale = field(default_factory=Locale)
    tablespace: str | None = None

    def __str__(self) -> str:
        return f"create database {self.name}, closed to connections"


@dataclass(frozen=True, slots=True)
class AlterDatabase:
    """ALTER DATABASE … ALLOW_CONNECTIONS, CONNECTION LIMIT; None leaves it alone."""

    name: str
    allow_connections: bool | None = None
    connection_limit: int | None = None

    def __str__(self) -> str:
        changes = []
        if self.allow_connections is not None:
            changes.append("open" if self.allow_connections else "close")
        if self.connection_limit is not None:
            changes.append(f"set connection limit {self.connection_limit} on")
        return f"{' and '.join(changes)} database {self.name}"


@dataclass(frozen=True, slots=True)
class AlterDatabaseOwner:
    """ALTER DATABASE … OWNER TO role."""

    name: str
    owner: str

    def __str__(self) -> str:
        return f"give database {self.name} to role {self.owner}"


@dataclass(frozen=True, slots=True)
class SetDatabaseParameter:
    """ALTER DATABASE … SET parameter."""

    name: str
    parameter: str
    value: str

    def __str__(self) -> str:
        return f"set {self.parameter} of database {self.name} to {self.value}"


@dataclass(frozen=True, slots=True)
class ResetDatabaseParameter:
    """ALTER DATABASE … RESET parameter."""

    name: str
    parameter: str

    def __str__(self) -> str:
        return f"reset {self.parameter} of database {self.name}"


@dataclass(frozen=True, slots=True)
class MarkDatabase:
    """COMMENT ON DATABASE; None removes the mark and restores `comment`."""

    name: str
    mark: Mark | None
    comment: str | None = None

    def __str__(self) -> str:
        return f"mark database {self.name} {_state(self.mark)}"


@dataclass(frozen=True, slots=True)
class RevokePublicOnDatabase:
    """REVOKE … ON DATABASE … FROM PUBLIC."""

    name: str
    privileges: tuple[str, ...]

    def __str__(self) -> str:
        words = ", ".join(self.privileges)
        return f"revoke {words} on database {self.name} from PUBLIC"


@dataclass(frozen=True, slots=True)
class DropDatabase:
    """DROP DATABASE … WITH (FORCE)."""

    name: str

    def __str__(self) -> str:
        return f"drop database {self.name}"


@dataclass(frozen=True, slots=True)
class CreateSchema:
    """CREATE SCHEMA in a database."""

    database: str
    name: str

    def __str__(self) -> str:
        return f"create schema {self.name} in database {self.database}"


@dataclass(frozen=True, slots=True)
class AlterSchemaOwner:
    """ALTER SCHEMA … OWNER TO role, in a database."""

    database: str
    name: str
    owner: str

    def __str__(self) -> str:
        schema = f"schema {self.name} in database {self.database}"
        return f"give {schema} to role {self.owner}"


@dataclass(frozen=True, slots=True)
class CreateExtension:
    """CREATE EXTENSION … SCHEMA, in a database; None is the server's version."""

    database: str
    name: str
    schema: str
    version: str | None

    def __str__(self) -> str:
        where = f"schema {self.schema} of database {self.database}"
        return f"create extension {self.name} in {where}"


@dataclass(frozen=True, slots=True)
class AlterExtensionVersion:
    """ALTER EXTENSION … UPDATE TO version, in a database."""

    database: str
    name: str
    version: str

    def __str__(self) -> str:
        what = f"extension {self.name} of database {self.database}"
        return f"update {what} to version {self.version}"


@dataclass(frozen=True, slots=True)
class AlterExtensionSchema:
    """ALTER EXTENSION … SET SCHEMA, in a database."""

    database: str
    name: str
    schema: str

    def __str__(self) -> str:
        what = f"extension {self.name} of database {self.database}"
        return f"move {what} to schema {self.schema}"


@dataclass(frozen=True, slots=True)
class RevokePublicOnSchema:
    """REVOKE CREATE ON SCHEMA … FROM PUBLIC: PostgreSQL up to 14 grants it."""

    database: str
    name: str

    def __str__(self) -> str:
        schema = f"schema {self.name} in database {self.database}"
        return f"revoke CREATE on {schema} from PUBLIC"


@dataclass(frozen=True, slots=True)
class CreateRole:
    """CREATE ROLE, with its password in the same statement."""

    name: str
    login: bool
    connection_limit: int | None
    password: Password | None
    inherit: bool | None = None
    valid_until: str | None = None

    def __str__(self) -> str:
        login = "LOGIN" if self.login else "NOLOGIN"
        password = " and a password" if self.password else ""
        return f"create role {self.name} with {login}{password}"


@dataclass(frozen=True, slots=True)
class AlterRole:
    """ALTER ROLE, naming only what differs; None leaves it alone."""

    name: str
    login: bool | None = None
    connection_limit: int | None = None
    password: Password | None = None
    inherit: bool | None = None
    valid_until: str | None = None

    def __str__(self) -> str:
        changes = []
        if self.inherit is not None:
            changes.append("INHERIT" if self.inherit else "NOINHERIT")
        if self.valid_until is not None:
            changes.append(f"VALID UNTIL {self.valid_until}")
        if self.login is not None:
            changes.append("LOGIN" if self.login else "NOLOGIN")
        if self.connection_limit is not None:
            changes.append(f"CONNECTION LIMIT {self.connection_limit}")
        if self.password is not None:
            changes.append("a new password")
        return f"give role {self.name} {', '.join(changes)}"


@dataclass(frozen=True, slots=True)
class GrantRoleToSelf:
    """GRANT role TO CURRENT_USER, WITH INHERIT TRUE, SET TRUE from PostgreSQL 16."""

    name: str

    def __str__(self) -> str:
        return f"make the operator a member of role {self.name}"


@dataclass(frozen=True, slots=True)
class SetRoleAttribute:
    """ALTER ROLE with one attribute, such as CREATEDB or, off, NOCREATEDB."""

    role: str
    attribute: str
    on: bool

    @property
    def path(self) -> str:
        """Where it stands in the spec."""
        return f"spec.attributes[{self.attribute}]"

    def __str__(self) -> str:
        word = self.attribute if self.on else f"NO{self.attribute}"
        return f"give role {self.role} {word}"


@dataclass(frozen=True, slots=True)
class SetRoleParameter:
    """ALTER ROLE … [IN DATABASE …] SET parameter; None resets it."""

    role: str
    parameter: RoleParameter
    value: str | None

    @property
    def path(self) -> str:
        """Where it stands in the spec."""
        return self.parameter.path

    def __str__(self) -> str:
        name, database = self.parameter.name, self.parameter.database
        where = f" in database {database}" if database else ""
        if self.value is None:
            return f"reset {name} of role {self.role}{where}"
        return f"set {name} of role {self.role}{where} to {self.value}"


@dataclass(frozen=True, slots=True)
class GrantMembership:
    """GRANT membership.role TO role, with the options of the membership."""

    role: str
    membership: Membership

    @property
    def group(self) -> str:
        """The role to become a member of."""
        return self.membership.role

    @property
    def path(self) -> str:
        """Where it stands in the spec."""
        return membership_path(self.group)

    def __str__(self) -> str:
        admin = " with the admin option" if self.membership.admin else ""
        return f"make role {self.role} a member of {self.membership.role}{admin}"


@dataclass(frozen=True, slots=True)
class RevokeMembership:
    """REVOKE group FROM role, as `grantor` from PostgreSQL 16, and what hangs on it."""

    role: str
    group: str
    grantor: str
    admin_only: bool = False

    @property
    def path(self) -> str:
        """Where it stands, or stood, in the spec."""
        return membership_path(self.group)

    def __str__(self) -> str:
        what = "the admin option on" if self.admin_only else "the membership in"
        return f"take {what} {self.group} from role {self.role}"


Entitlement = SetRoleAttribute | SetRoleParameter | GrantMembership | RevokeMembership


@dataclass(frozen=True, slots=True)
class MarkRole:
    """COMMENT ON ROLE; None removes the mark and restores `comment`.

    `fallback` is written instead when a revoke before it was left undone: its scope
    still has what was to be revoked, so that it is tried again.
    """

    name: str
    mark: Mark | None
    comment: str | None = None
    fallback: Mark | None = None

    def __str__(self) -> str:
        return f"mark role {self.name} {_state(self.mark)}"


@dataclass(frozen=True, slots=True)
class TerminateSessions:
    """End the sessions of a role."""

    role: str

    def __str__(self) -> str:
        return f"end the sessions of role {self.role}"


@dataclass(frozen=True, slots=True)
class ReassignOwned:
    """REASSIGN OWNED BY role TO another, in one database."""

    database: str
    role: str
    to: str

    def __str__(self) -> str:
        owned = f"what role {self.role} owns in database {self.database}"
        return f"reassign {owned} to {self.to}"


@dataclass(frozen=True, slots=True)
class DropOwned:
    """DROP OWNED BY role in one database: takes its privileges away."""

    database: str
    role: str

    def __str__(self) -> str:
        where = f"in database {self.database}"
        return f"drop the privileges of role {self.role} {where}"


@dataclass(frozen=True, slots=True)
class DropRole:
    """DROP ROLE."""

    name: str

    def __str__(self) -> str:
        return f"drop role {self.name}"


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


def _state(mark: Mark | None) -> str:
    return mark.state if mark else "as not ours"

"""The writes on roles: what they are, what they belong to, and their end. Pure."""

from dataclasses import dataclass

from pg_operator.plan.state import Membership, Password, RoleParameter, membership_path


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

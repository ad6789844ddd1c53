"""The writes on databases, and on the schemas and extensions in them. Pure."""

from dataclasses import dataclass, field

from pg_operator.plan.state import Locale


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
class RevokePublicOnSchema:
    """REVOKE CREATE ON SCHEMA … FROM PUBLIC: PostgreSQL up to 14 grants it."""

    database: str
    name: str

    def __str__(self) -> str:
        schema = f"schema {self.name} in database {self.database}"
        return f"revoke CREATE on {schema} from PUBLIC"


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

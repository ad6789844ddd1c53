"""What the PostgreSQL tests stand on: connections as the operator has them."""

import contextlib
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace

import psycopg
from psycopg import conninfo, sql

from pg_operator.api.secret import SecretText
from pg_operator.api.specs import DatabaseRoleSpec
from pg_operator.plan.batches import Plan
from pg_operator.plan.desired import Entitlements, desired_role
from pg_operator.plan.diff import diff
from pg_operator.plan.grants import Grants
from pg_operator.plan.operations import (
    AlterDatabase,
    CreateDatabase,
    CreateRole,
    GrantRoleToSelf,
    MarkDatabase,
    MarkRole,
    Operation,
    RevokePublicOnDatabase,
)
from pg_operator.plan.policies import sentinel
from pg_operator.plan.privileges import GrantPrivileges
from pg_operator.plan.state import (
    Claimant,
    DatabaseState,
    Mark,
    Owner,
    Password,
    RoleState,
    Server,
)
from pg_operator.postgres.applied import Applied
from pg_operator.postgres.apply import apply
from pg_operator.postgres.connect import ServerConnections
from pg_operator.postgres.connection import Connection
from pg_operator.postgres.dsn import parse_dsn
from pg_operator.postgres.marks import Keyring
from pg_operator.postgres.observe import observe_server
from pg_operator.postgres.observe_databases import observe_database
from pg_operator.postgres.observe_privileges import (
    observe_database_holdings,
    observe_holdings,
)
from pg_operator.postgres.observe_roles import observe_roles
from tests.localcluster.postgres import (
    PostgresOptions,
    PostgresServer,
    start_postgres,
)
from tests.localcluster.postgres_files import remove_directory
from tests.localcluster.processes import Supervisor
from tests.localcluster.runs import LOCAL, run_directory
from tests.unit.plan_examples import securables

PASSWORD = "correct horse § battery"


@dataclass(frozen=True, slots=True)
class Bed:
    """One login's connections to the server, and a name prefix of its own."""

    dsn: str = field(repr=False)
    connections: ServerConnections
    keyring: Keyring
    server: Server
    prefix: str

    def name(self, suffix: str) -> str:
        """Return a name that only this test has."""
        return f"{self.prefix}_{suffix}"

    def claimant(self, kind: Owner, name: str = "orders") -> Claimant:
        """Return an API object of this test."""
        return Claimant("owner-id", kind, self.prefix, "namespace-uid", name)

    def password(self, text: str = PASSWORD, *, role: str) -> Password:
        """Return a password with its fingerprint."""
        secret = SecretText(text)
        return Password(self.keyring.fingerprint(secret, role=role), secret)

    async def apply(self, *operations: Operation) -> Applied:
        """Carry out operations as one plan."""
        return await apply(
            Plan(operations),
            server=self.server,
            connections=self.connections,
            keyring=self.keyring,
        )

    async def database(self, name: str) -> DatabaseState:
        """Observe a database."""
        async with self.connections.session() as connection:
            return await observe_database(connection, name, keyring=self.keyring)

    async def role(self, name: str) -> RoleState:
        """Observe a role."""
        async with self.connections.session() as connection:
            return await observe_role(connection, name, keyring=self.keyring)

    async def grants(self, role: str, *, database: str) -> Grants:
        """Observe what a role holds inside a database."""
        async with self.connections.session(database) as connection:
            return (await observe_holdings(connection, role)).grants

    async def plan_role(
        self, spec: DatabaseRoleSpec, entitlements: Entitlements
    ) -> Plan:
        """Plan what a role is entitled to, and leave its privileges alone."""
        observed = await self.role(spec.role_name)
        desired = desired_role(
            spec,
            claimant=self.claimant("DatabaseRole"),
            observed=observed,
            server=self.server,
            password=None,
            grants=observed.grants,
            scope=frozenset(),
            entitlements=entitlements,
        )
        return diff(desired, observed)

    async def create_database(self, name: str) -> None:
        """Create a database the way the plan does, up to its opening."""
        claimant = self.claimant("Database")
        applied = await self.apply(
            CreateDatabase(name, None, sentinel(claimant)),
            MarkDatabase(name, Mark(claimant)),
            RevokePublicOnDatabase(name, ("CONNECT", "TEMPORARY")),
            AlterDatabase(name, allow_connections=True, connection_limit=-1),
        )
        assert applied.pending == ()

    async def create_role(self, name: str, *, login: bool = True) -> None:
        """Create a role the way the plan does."""
        password = self.password(role=name)
        mark = Mark(self.claimant("DatabaseRole"), password=password.fingerprint)
        membership = () if self.server.superuser else (GrantRoleToSelf(name),)
        applied = await self.apply(
            CreateRole(name, login=login, connection_limit=None, password=password),
            *membership,
            MarkRole(name, mark),
        )
        assert applied.pending == ()

    async def grant(
        self, role: str, *words: str, database: str, schema: str = "", table: str = ""
    ) -> Applied:
        """Grant words on one object."""
        return await self.apply(
            GrantPrivileges(
                role,
                securables(
                    "table" if table else "schema" if schema else "database",
                    database,
                    (table or schema or database,),
                    schema if table else "",
                ),
                words,
            )
        )

    async def execute(self, *statements: str, database: str | None = None) -> None:
        """Run statements as the operator's login, each its own transaction."""
        async with self.connections.session(database) as connection:
            for statement in statements:
                await connection.execute(sql.SQL(statement))

    @contextlib.asynccontextmanager
    async def login(
        self, role: str, database: str, *, password: str = PASSWORD
    ) -> AsyncIterator[psycopg.AsyncConnection]:
        """Log in the way an application does."""
        target = conninfo.make_conninfo(
            self.dsn, user=role, password=password, dbname=database
        )
        connection = await psycopg.AsyncConnection.connect(target, autocommit=True)
        async with connection:
            yield connection


@contextlib.contextmanager
def running_server(options: PostgresOptions) -> Iterator[PostgresServer]:
    """Run a server of our own, and leave nothing of it but its log."""
    with run_directory(LOCAL / "runs") as directory:
        state = directory / "state"
        supervisor = Supervisor(state / "processes", tied=True)
        try:
            yield start_postgres(
                supervisor,
                directory=state / "postgres",
                log=directory / "logs" / "postgres.log",
                options=options,
            )
        finally:
            supervisor.stop_all()
            remove_directory(state)


@contextlib.asynccontextmanager
async def open_bed(
    dsn: str, *, max_connections: int = 4, read_only: bool = False
) -> AsyncIterator[Bed]:
    """Connect as the operator does, and close everything again."""
    connections = ServerConnections(
        parse_dsn(SecretText(dsn), allow_loopback=True),
        max_connections=max_connections,
        read_only=read_only,
    )
    try:
        async with connections.session() as connection:
            server = await observe_server(connection)
        yield Bed(
            dsn=dsn,
            connections=connections,
            keyring=Keyring.from_secret(Keyring.generate()),
            server=server,
            prefix=f"t{secrets.token_hex(4)}",
        )
    finally:
        await connections.close()


async def observe_role(
    connection: Connection, name: str, *, keyring: Keyring
) -> RoleState:
    """Read the row and mark of one role, and its privileges on databases."""
    state = (await observe_roles(connection, [name], keyring=keyring))[name]
    holdings = await observe_database_holdings(connection, [name])
    return replace(state, grants=holdings[name].grants)


async def run_as_superuser(
    dsn: str, *statements: str, database: str = "postgres"
) -> None:
    """Break things from outside of the operator."""
    target = conninfo.make_conninfo(dsn, dbname=database)
    connection = await psycopg.AsyncConnection.connect(target, autocommit=True)
    async with connection:
        for statement in statements:
            await connection.execute(sql.SQL(statement))


def logged_since(server: PostgresServer, offset: int) -> str:
    """Return what a server logged from that byte of its log on."""
    with server.log.open(encoding="utf-8", errors="replace") as log:
        log.seek(offset)
        return log.read()


def evil_aclexplode(command: str) -> str:
    """Return the statement that makes an `evil.aclexplode` which runs a command."""
    return (
        "CREATE FUNCTION evil.aclexplode(aclitem[], OUT grantor oid, OUT grantee oid,"
        " OUT privilege_type text, OUT is_grantable bool) RETURNS SETOF record"
        f" LANGUAGE sql AS '{command}; SELECT 0::oid, 0::oid, ''SELECT'', false'"
    )

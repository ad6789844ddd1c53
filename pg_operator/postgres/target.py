"""Where a plan is carried out, and how one operation of it is."""

import contextlib
import dataclasses
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace

import psycopg

from pg_operator.api.secret import SecretText
from pg_operator.plan.operations import AlterRole, CreateRole, MarkRole, Operation
from pg_operator.plan.state import Membership, Password, RoleParameter, Server
from pg_operator.postgres.connect import ServerConnections
from pg_operator.postgres.connection import Connection
from pg_operator.postgres.locks import lock_tables
from pg_operator.postgres.marks import Keyring
from pg_operator.postgres.quiet import leave_unsampled, unlogged
from pg_operator.postgres.render import render
from pg_operator.postgres.second_look import GrantOrRevoke
from pg_operator.postgres.secrets import scram_verifier
from pg_operator.postgres.translate import translate


@dataclass(frozen=True, slots=True)
class Target:
    """Where a plan is carried out."""

    server: Server
    connections: ServerConnections
    keyring: Keyring
    verifiers: dict[str, str] = field(default_factory=dict)

    async def prepare(
        self, connection: Connection, operations: Collection[Operation]
    ) -> None:
        """Do what must be done before the transaction of these operations begins."""
        if any(_sets_password(operation) for operation in operations):
            await leave_unsampled(connection)

    async def execute(self, connection: Connection, operation: Operation) -> None:
        """Run the one statement of an operation."""

        def verifier(password: Password, role: str) -> str:
            text = password.text or SecretText("")
            stored = scram_verifier(text, role=role, pgconn=connection.pgconn)
            fingerprint = self.keyring.fingerprint(SecretText(stored), role=role)
            self.verifiers[role] = fingerprint
            return stored

        statement = render(
            self._completed(operation),
            server=self.server,
            keyring=self.keyring,
            verifier=verifier,
        )
        try:
            async with contextlib.AsyncExitStack() as around:
                if isinstance(operation, GrantOrRevoke):
                    await lock_tables(connection, operation)
                if _sets_password(operation):
                    await around.enter_async_context(unlogged(connection))
                await connection.execute(statement)
        except psycopg.Error as error:
            raise translate(error, names=_names(operation)) from None

    def _completed(self, operation: Operation) -> Operation:
        """Put on record what the server was given for a password a moment ago."""
        if not isinstance(operation, MarkRole) or operation.mark is None:
            return operation
        verifier = self.verifiers.get(operation.name, operation.mark.verifier)
        return replace(operation, mark=replace(operation.mark, verifier=verifier))


def _sets_password(operation: Operation) -> bool:
    if not isinstance(operation, CreateRole | AlterRole):
        return False
    return operation.password is not None


def _names(operation: Operation) -> frozenset[str]:
    """Return the texts that an operation itself consists of."""
    return frozenset(_texts(operation))


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, Operation | Membership | RoleParameter):
        for field in dataclasses.fields(value):
            yield from _texts(getattr(value, field.name))

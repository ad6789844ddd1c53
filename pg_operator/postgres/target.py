"""Where a plan is carried out, and how one operation of it is."""

import contextlib
import dataclasses
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace

import psycopg
from psycopg import sql

from pg_operator.api.secret import SecretText
from pg_operator.plan.operations import (
    AlterRole,
    CreateRole,
    MarkRole,
    Operation,
    Separable,
)
from pg_operator.plan.state import Membership, Password, RoleParameter, Server
from pg_operator.postgres.connect import ServerConnections
from pg_operator.postgres.connection import Connection
from pg_operator.postgres.locks import is_on_tables, lock_tables
from pg_operator.postgres.marks import Keyring
from pg_operator.postgres.quiet import (
    changeable_settings,
    leave_unsampled,
    unlogged,
)
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
    # Of the log's settings, as asked before the last password was set.
    _changeable: set[str] = field(default_factory=set)

    async def prepare(
        self, connection: Connection, operations: Collection[Operation]
    ) -> None:
        """Do what must be done before the transaction of these operations begins."""
        if any(_sets_password(operation) for operation in operations):
            self._changeable.clear()
            self._changeable.update(await changeable_settings(connection))
            await leave_unsampled(connection, changeable=self._changeable)

    async def execute(self, connection: Connection, operation: Operation) -> None:
        """Run the one statement of an operation."""
        statement = self._statement(connection, operation)
        with _translated(operation):
            async with contextlib.AsyncExitStack() as around:
                if isinstance(operation, GrantOrRevoke):
                    await lock_tables(connection, operation)
                if _sets_password(operation):
                    silence = unlogged(connection, changeable=self._changeable)
                    await around.enter_async_context(silence)
                await connection.execute(statement)

    async def execute_apart(self, connection: Connection, operation: Separable) -> None:
        """Run it so that its failure leaves the transaction as it was before."""
        if isinstance(operation, GrantOrRevoke) and is_on_tables(operation):
            # These are locked first.
            async with connection.transaction():
                await self.execute(connection, operation)
            return
        statement = self._statement(connection, operation)
        with _translated(operation):
            await connection.execute_apart(statement)

    def _statement(self, connection: Connection, operation: Operation) -> sql.Composed:
        def verifier(password: Password, role: str) -> str:
            text = password.text or SecretText("")
            stored = scram_verifier(text, role=role, pgconn=connection.pgconn)
            fingerprint = self.keyring.fingerprint(SecretText(stored), role=role)
            self.verifiers[role] = fingerprint
            return stored

        return render(
            self._completed(operation),
            server=self.server,
            keyring=self.keyring,
            verifier=verifier,
        )

    def _completed(self, operation: Operation) -> Operation:
        """Put on record what the server was given for a password a moment ago."""
        if not isinstance(operation, MarkRole) or operation.mark is None:
            return operation
        verifier = self.verifiers.get(operation.name, operation.mark.verifier)
        return replace(operation, mark=replace(operation.mark, verifier=verifier))


@contextlib.contextmanager
def _translated(operation: Operation) -> Iterator[None]:
    """Make one of our errors of what the server refuses of an operation."""
    try:
        yield
    except psycopg.Error as error:
        raise translate(error, names=_names(operation)) from None


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

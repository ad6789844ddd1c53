"""A plan: operations in their order, and which of them share a transaction. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from pg_operator.plan.operations import (
    AlterDatabase,
    AlterDatabaseOwner,
    AlterRole,
    CreateDatabase,
    CreateRole,
    DropDatabase,
    DropRole,
    GrantMembership,
    GrantRoleToSelf,
    MarkDatabase,
    MarkRole,
    Operation,
    ResetDatabaseParameter,
    RevokeMembership,
    RevokePublicOnDatabase,
    SetDatabaseParameter,
    SetRoleAttribute,
    SetRoleParameter,
    TerminateSessions,
)
from pg_operator.plan.privileges import GrantPrivileges, RevokePrivileges


@dataclass(frozen=True, slots=True)
class Batch:
    """Operations that run in order on one connection.

    `database` is None for the maintenance database. In a transaction, unless PostgreSQL
    forbids one (CREATE and DROP DATABASE) or the operation needs what went before to be
    committed (ending sessions). `locks` name the advisory locks to take first, sorted:
    "database:NAME", "role:NAME", or "catalog" for a database's inside.
    """

    operations: tuple[Operation, ...]
    database: str | None = None
    transactional: bool = True
    locks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """Operations in the order they must run; falsy when there is nothing to do."""

    operations: tuple[Operation, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.operations)

    def batches(self) -> Sequence[Batch]:
        """Group neighbours that can share a connection and a transaction."""
        return tuple(
            Batch(
                operations=tuple(operation for operation, _ in neighbours),
                database=place.database,
                transactional=place.transactional,
                locks=tuple(sorted({p.lock for _, p in neighbours if p.lock})),
            )
            for place, neighbours in _neighbours(self.operations)
        )

    def describe(self) -> tuple[str, ...]:
        """Return one line an operation for people to read; no secrets in it."""
        return tuple(str(operation) for operation in self.operations)


class _Place(NamedTuple):
    """Where an operation runs."""

    database: str | None
    transactional: bool
    lock: str | None


def _neighbours(
    operations: Sequence[Operation],
) -> Iterator[tuple[_Place, list[tuple[Operation, _Place]]]]:
    placed = [(operation, _place(operation)) for operation in operations]
    for _, group in groupby(placed, key=lambda pair: pair[1][:2]):
        neighbours = list(group)
        yield neighbours[0][1], neighbours


def _place(operation: Operation) -> _Place:
    match operation:
        case CreateDatabase() | DropDatabase() | TerminateSessions():
            return _Place(None, transactional=False, lock=None)
        case (
            AlterDatabase(name=name)
            | AlterDatabaseOwner(name=name)
            | SetDatabaseParameter(name=name)
            | ResetDatabaseParameter(name=name)
            | MarkDatabase(name=name)
            | RevokePublicOnDatabase(name=name)
        ):
            return _Place(None, transactional=True, lock=f"database:{name}")
        case (
            CreateRole(name=name)
            | AlterRole(name=name)
            | GrantRoleToSelf(name=name)
            | SetRoleAttribute(role=name)
            | SetRoleParameter(role=name)
            | GrantMembership(role=name)
            | RevokeMembership(role=name)
            | MarkRole(name=name)
            | DropRole(name=name)
        ):
            return _Place(None, transactional=True, lock=f"role:{name}")
        case (
            GrantPrivileges(kind="database", database=name)
            | RevokePrivileges(kind="database", database=name)
        ):
            return _Place(None, transactional=True, lock=f"database:{name}")
        case _:
            return _Place(operation.database, transactional=True, lock="catalog")

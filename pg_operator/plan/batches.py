"""A plan: operations in their order, and which of them share a transaction. Pure."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import NamedTuple

from pg_operator.plan.grants import Securable
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
from pg_operator.plan.privileges import GrantPrivileges, RevokePrivileges, table_of


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

    @property
    def breadth(self) -> int:
        """How many objects its privileges are on; a column counts as its table."""
        return len(_objects(self.operations))


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


def pieces(batch: Batch, *, most: int) -> Iterator[Batch]:
    """Cut a batch into ones with the privileges on at most so many objects in each.

    What concerns one object stays together and in order: what a REVOKE wipes and the
    next GRANT restores is never gone for others to see. All else is a piece by itself.
    """
    runs = groupby(batch.operations, key=lambda one: isinstance(one, _ON_OBJECTS))
    for _, run in runs:
        operations = tuple(run)
        objects = sorted(_objects(operations))
        for start in range(0, len(objects), most):
            chosen = frozenset(objects[start : start + most])
            part = tuple(_within(operations, chosen))
            yield replace(batch, operations=part)
        if not objects:
            for operation in operations:
                yield replace(batch, operations=(operation,))


_ON_OBJECTS = GrantPrivileges | RevokePrivileges


def _objects(operations: Sequence[Operation]) -> frozenset[Securable]:
    return frozenset(
        table_of(on) if on.kind == "column" else on
        for operation in operations
        if isinstance(operation, _ON_OBJECTS)
        for on in operation.on
    )


def _within(
    operations: Sequence[Operation], objects: Collection[Securable]
) -> Iterator[Operation]:
    """Return what operations do to some of their objects."""
    for operation in operations:
        if isinstance(operation, _ON_OBJECTS):
            on = tuple(
                each
                for each in operation.on
                if (table_of(each) if each.kind == "column" else each) in objects
            )
            if on:
                yield replace(operation, on=on)


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

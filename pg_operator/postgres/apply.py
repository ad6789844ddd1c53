"""Carries out a plan: batch by batch, locked, repeated when raced, looked at again."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Final, TypeVar

from pg_operator.api.validation.database import TEMPLATES
from pg_operator.plan.batches import Batch, Plan, pieces
from pg_operator.plan.operations import (
    CreateDatabase,
    DropDatabase,
    DropOwned,
    MarkRole,
    Operation,
    ReassignOwned,
    Separable,
    takes_away,
)
from pg_operator.plan.state import Pending, Server
from pg_operator.postgres.applied import (
    NOT_EFFECTIVE,
    Applied,
    left_undone,
    path_of,
)
from pg_operator.postgres.connect import ServerConnections
from pg_operator.postgres.connection import Connection
from pg_operator.postgres.errors import (
    LockHeld,
    MissingPrivilege,
    ObjectInUse,
    OutOfLocks,
    Rejected,
    Transient,
)
from pg_operator.postgres.marks import Keyring
from pg_operator.postgres.piecemeal import piece_of, take_on
from pg_operator.postgres.second_look import GrantOrRevoke, look_again
from pg_operator.postgres.target import Target
from pg_operator.postgres.writing import slow_session, writing_session

ATTEMPTS: Final = 5
# Objects to take on in a transaction, where the server has no room for all the locks.
PIECE: Final = 256
FIRST_DELAY: Final = 0.05  # seconds, doubled each time
# GRANT and REVOKE that succeed and do nothing only warn.
_NOTHING_DONE: Final = frozenset({"01006", "01007"})

Result = TypeVar("Result")


async def apply(
    plan: Plan, *, server: Server, connections: ServerConnections, keyring: Keyring
) -> Applied:
    """Carry out a plan; what may fail alone is left pending, the rest is committed.

    Every batch is one transaction, so a failure leaves whole batches, and the next
    reconcile goes on from there. A `Pending.path` names the object on the server.
    Whoever holds up the privileges in one database holds up no other.

    Raises:
        AlreadyExistsNow: what was to be created is there: observe again.
        Transient: locks and races, after `ATTEMPTS` attempts.
        LockHeld: somebody else has one of the locks of a database.
        PostgresError: an operation that everything else needs was refused.
    """
    target = Target(server, connections, keyring)
    applied = Applied()
    held_up: Transient | LockHeld | None = None
    for batch in plan.batches():
        try:
            applied += await _apply_batch(
                batch, target, revokes_undone=applied.revokes_undone
            )
        except (Transient, LockHeld) as error:
            if not _is_of_one_database(batch):
                raise
            undone = any(takes_away(one) for one in batch.operations)
            applied += Applied(revokes_undone=undone)
            held_up = held_up or type(error)(f"{error} (database '{batch.database}')")
    if held_up is not None:
        raise held_up
    return applied


def _is_of_one_database(batch: Batch) -> bool:
    """Tell whether it is about privileges inside a database, and nothing else."""
    return batch.database is not None and all(
        isinstance(one, GrantOrRevoke) for one in batch.operations
    )


async def _apply_batch(
    batch: Batch, target: Target, *, revokes_undone: bool
) -> Applied:
    if not batch.transactional:
        return await _outside_transaction(batch, target)

    def attempt(part: Batch, *, undone: bool) -> Callable[[], Awaitable[Applied]]:
        return lambda: _in_transaction(part, target, revokes_undone=undone)

    try:
        return await attempt(batch, undone=revokes_undone)()
    except Transient:
        # Taking rights away must not wait for what giving others waits for.
        applied = Applied(revokes_undone=revokes_undone)
        for part in _revokes_first(batch):
            applied += await _retried(attempt(part, undone=applied.revokes_undone))
        return applied
    except OutOfLocks:
        applied = Applied(revokes_undone=revokes_undone)
        for part in pieces(batch, most=PIECE):
            applied += await _piecemeal(part, target, undone=applied.revokes_undone)
        return applied


async def _piecemeal(batch: Batch, target: Target, *, undone: bool) -> Applied:
    """Carry a batch out by halves where it takes more locks than the server has."""
    for operation in batch.operations:
        if isinstance(operation, ReassignOwned | DropOwned):
            await _whittle(batch, operation, target)
    try:
        return await _patiently(
            lambda: _in_transaction(batch, target, revokes_undone=undone)
        )
    except OutOfLocks:
        halves = tuple(pieces(batch, most=batch.breadth // 2 or 1))
        if len(halves) == 1:
            raise
    applied = Applied(revokes_undone=undone)
    for half in halves:
        applied += await _piecemeal(half, target, undone=applied.revokes_undone)
    return applied


async def _whittle(
    batch: Batch, operation: ReassignOwned | DropOwned, target: Target
) -> None:
    """Do most of an operation in advance, in transactions of as many as there is room.

    What was done stays done when it ends in between: the next look goes on from there.
    """
    piece = piece_of(operation)

    async def attempt(most: int) -> int:
        async with _transaction(batch, target) as connection:
            return await piece(connection, most)

    await take_on(lambda most: _patiently(lambda: attempt(most)), most=PIECE)


async def _patiently(attempt: Callable[[], Awaitable[Result]]) -> Result:
    """Try, and try again when something is in the way for a moment."""
    try:
        return await attempt()
    except Transient:
        return await _retried(attempt)


@contextlib.asynccontextmanager
async def _transaction(batch: Batch, target: Target) -> AsyncIterator[Connection]:
    """Open the transaction of a batch, with its locks."""
    async with target.connections.session(batch.database) as connection:
        await target.prepare(connection, batch.operations)
        async with writing_session(
            connection, locks=batch.locks, fence=target.connections.fence
        ):
            yield connection


def _revokes_first(batch: Batch) -> Iterator[Batch]:
    revokes = tuple(o for o in batch.operations if takes_away(o))
    others = tuple(o for o in batch.operations if not takes_away(o))
    for part in (revokes, others):
        if part:
            yield replace(batch, operations=part)


async def _retried(attempt: Callable[[], Awaitable[Result]]) -> Result:
    """Try again after a growing, random pause."""
    for number in range(ATTEMPTS - 2):
        await _pause(number)
        with contextlib.suppress(Transient):
            return await attempt()
    await _pause(ATTEMPTS - 2)
    return await attempt()


async def _pause(number: int) -> None:
    factor = random.SystemRandom().uniform(0.5, 1.5)
    await asyncio.sleep(FIRST_DELAY * 2**number * factor)


async def _outside_transaction(batch: Batch, target: Target) -> Applied:
    """Run what PostgreSQL allows in no transaction; each is all or nothing itself."""
    for operation in batch.operations:
        async with _prepared(operation, target.connections) as connection:
            await target.execute(connection, operation)
    return Applied(statements=len(batch.operations))


@contextlib.asynccontextmanager
async def _prepared(
    operation: Operation, connections: ServerConnections
) -> AsyncIterator[Connection]:
    """Lend a connection on which databases may take as long as they need."""
    async with contextlib.AsyncExitStack() as stack:
        if isinstance(operation, CreateDatabase):
            if operation.template not in TEMPLATES:
                await stack.enter_async_context(_the_only_copy(connections.copying))
            # More at once are no faster and stall the server's other writers.
            await stack.enter_async_context(connections.creations)
            # Nobody may be in a database that is copied, not even we.
            await connections.discard(operation.template)
        if isinstance(operation, DropDatabase):
            await connections.discard(operation.name)
        connection = await stack.enter_async_context(connections.session())
        yield await stack.enter_async_context(
            slow_session(connection, fence=connections.fence)
        )
        if isinstance(operation, CreateDatabase):
            connections.fence.built(operation.name)


@contextlib.asynccontextmanager
async def _the_only_copy(copying: asyncio.Lock) -> AsyncIterator[None]:
    """Copy one tenant's database at a time, however large or busy it is.

    Who comes second does not wait here, where its place would be another's to work in.

    Raises:
        Transient: another is being copied.
    """
    if copying.locked():
        raise Transient("another database is being copied; only one is at a time")
    async with copying:
        yield


async def _in_transaction(
    batch: Batch, target: Target, *, revokes_undone: bool
) -> Applied:
    applied = Applied(revokes_undone=revokes_undone)
    unchecked: list[GrantOrRevoke] = []
    async with _transaction(batch, target) as connection:
        for operation in batch.operations:
            if isinstance(operation, Separable):
                applied += await _separately(connection, operation, target, unchecked)
                continue
            if isinstance(operation, MarkRole):
                applied += await look_again(connection, unchecked)
                undone = applied.revokes_undone
                await target.execute(connection, _final(operation, undone=undone))
            else:
                await target.execute(connection, operation)
            applied += Applied(statements=1)
        applied += await look_again(connection, unchecked)
    return applied


def _final(operation: MarkRole, *, undone: bool) -> MarkRole:
    """Keep on record what could not be revoked, so that it is tried again."""
    if undone and operation.fallback is not None:
        return replace(operation, mark=operation.fallback, fallback=None)
    return operation


async def _separately(
    connection: Connection,
    operation: Separable,
    target: Target,
    unchecked: list[GrantOrRevoke],
) -> Applied:
    """Run an operation in a savepoint; one over many objects again one by one."""
    connection.take_warnings()
    try:
        await target.execute_apart(connection, operation)
    except (MissingPrivilege, ObjectInUse, Rejected) as error:
        applied = Applied()
        if isinstance(operation, GrantOrRevoke) and len(operation.on) > 1:
            # By halves: one object that cannot be granted on is found among a thousand.
            middle = len(operation.on) // 2
            for part in (operation.on[:middle], operation.on[middle:]):
                half = replace(operation, on=part)
                applied += await _separately(connection, half, target, unchecked)
            return applied
        return left_undone(operation, error)
    if isinstance(operation, GrantOrRevoke):
        unchecked.append(operation)
    elif _NOTHING_DONE.intersection(connection.take_warnings()):
        message = "PostgreSQL took the statement and did nothing: only the owner may"
        return Applied((Pending(path_of(operation), NOT_EFFECTIVE, message),), 1)
    return Applied(statements=1)

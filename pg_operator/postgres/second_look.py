"""Looks whether GRANT and REVOKE did what they were to do, before they commit."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from pg_operator.plan.grants import Grant, Grants, Securable
from pg_operator.plan.operations import takes_away
from pg_operator.plan.privileges import GrantPrivileges, RevokePrivileges
from pg_operator.postgres.applied import Applied, without_effect
from pg_operator.postgres.connection import Connection
from pg_operator.postgres.grantors import revoke_as_grantors
from pg_operator.postgres.observe_privileges import (
    Holdings,
    observe_database_holdings,
    observe_holdings,
    observe_schema_holdings,
)

GrantOrRevoke = GrantPrivileges | RevokePrivileges


async def _observe_shared(connection: Connection, role: str) -> Holdings:
    return (await observe_database_holdings(connection, [role]))[role]


async def look_again(connection: Connection, unchecked: list[GrantOrRevoke]) -> Applied:
    """Compare what was granted and revoked with what is, still in the transaction.

    A GRANT of what one may not pass on, and a REVOKE of what another role granted,
    succeed and change nothing; some of them without even a warning.
    """
    applied = Applied()
    for role, shared in sorted({_place_of(operation) for operation in unchecked}):
        those = [each for each in unchecked if _place_of(each) == (role, shared)]
        objects = [on for each in those for on in each.on]
        observe = _observe_shared if shared else _looking_at(objects)
        holdings = await observe(connection, role)
        if left := _left(those, holdings.grants):
            await revoke_as_grantors(connection, role, left, holdings)
            holdings = await observe(connection, role)
            left = _left(those, holdings.grants)
        lacking = (
            frozenset[Grant]().union(
                *(each.grants() for each in those if isinstance(each, GrantPrivileges))
            )
            - holdings.grants
        )
        applied += Applied(
            (
                *without_effect(left, is_grant=False),
                *without_effect(lacking, is_grant=True),
            ),
            revokes_undone=bool(left),
            ungranted=lacking,
        )
    unchecked.clear()
    return applied


def _place_of(operation: GrantOrRevoke) -> tuple[str, bool]:
    """Return whose privileges are meant, and whether they are in shared catalogs."""
    return operation.role, operation.kind == "database"


def _looking_at(
    objects: Sequence[Securable],
) -> Callable[[Connection, str], Awaitable[Holdings]]:
    """Return what looks at a role's privileges on some objects inside a database."""
    schemas = frozenset(on.schema for on in objects)
    if all(on.kind == "schema" and not on.creator for on in objects):
        return partial(observe_schema_holdings, schemas=schemas)
    return partial(observe_holdings, owned_in=schemas)


def _left(operations: Sequence[GrantOrRevoke], held: Grants) -> Grants:
    """Return what was to be revoked and is held all the same."""
    return frozenset[Grant]().union(
        *(each.grants() & held for each in operations if takes_away(each))
    )

"""Deleting an object: its database or role is retained or dropped, then it may go."""

from pg_operator.postgres.apply import apply
from pg_operator.postgres.errors import ObjectInUse
from pg_operator.reconcilers.context import Context
from pg_operator.reconcilers.deletion_planning import (
    DELETE_AGAIN,
    DeletionPlan,
    deletion_blocked,
    plan_database_deletion,
    plan_role_deletion,
)
from pg_operator.reconcilers.outcome import Key, Object, Outcome


async def finalize_database(context: Context, key: Key, database: Object) -> Outcome:
    """Retain or drop a deleted Database's database.

    Raises:
        Blocked: the database is to be dropped, and cannot be yet.
    """
    return await _carry_out(
        context, await plan_database_deletion(context, key, database)
    )


async def finalize_role(context: Context, key: Key, role: Object) -> Outcome:
    """Drop, disable or retain a deleted DatabaseRole's role.

    Raises:
        Blocked: the role is to be dropped, and cannot be yet.
    """
    planned = await plan_role_deletion(context, key, role)
    try:
        return await _carry_out(context, planned)
    except ObjectInUse:
        raise deletion_blocked(
            f"role '{role['spec']['roleName']}' cannot be dropped: it has privileges "
            "from others, or owns something, that the operator's login can neither "
            "take away nor reassign; a superuser can, with REASSIGN OWNED and DROP "
            "OWNED in each database concerned",
            requeue_after=DELETE_AGAIN,
        ) from None


async def _carry_out(context: Context, planned: DeletionPlan) -> Outcome:
    """Apply; what is pending then did not keep the last step from it."""
    if planned.link is not None:
        await apply(
            planned.plan,
            server=planned.link.server,
            connections=planned.link.connections,
            keyring=context.keyring,
        )
    return planned.outcome

"""What would be done for an object now, as SQL to read; nothing is written anywhere."""

from dataclasses import dataclass

from pg_operator.plan.desired import desired_mark
from pg_operator.plan.state import Pending
from pg_operator.postgres.script import Statement, render_script
from pg_operator.reconcilers.binding import foresee_password
from pg_operator.reconcilers.context import Context
from pg_operator.reconcilers.database_planning import plan_database
from pg_operator.reconcilers.deletion_planning import (
    DeletionPlan,
    plan_database_deletion,
    plan_role_deletion,
)
from pg_operator.reconcilers.outcome import Key, Object, is_deleting
from pg_operator.reconcilers.progress import Blocked
from pg_operator.reconcilers.role_planning import find_role, plan_role


@dataclass(frozen=True, slots=True)
class Draft:
    """The statements that would be run for an object, and what would be left undone.

    Where it is `refused`, they only take away what it may not have any more.
    """

    statements: tuple[Statement, ...] = ()
    pending: tuple[Pending, ...] = ()
    refused: Blocked | None = None

    @property
    def changes(self) -> int:
        """How many statements do more than write a mark: all that there is to do."""
        return sum(not statement.is_mark for statement in self.statements)


async def plan_object(context: Context, key: Key, obj: Object) -> Draft:
    """Find out what would be done for a Database or DatabaseRole.

    Services and Secrets are not looked at, save for passwords.

    Raises:
        Blocked: nothing would be done now, and why.
        PostgresError: the server refused something.
    """
    match key.kind, is_deleting(obj):
        case "Database", False:
            return await _draft_database(context, key, obj)
        case "DatabaseRole", False:
            return await _draft_role(context, key, obj)
        case "Database", True:
            return _draft_deletion(await plan_database_deletion(context, key, obj))
        case _:
            return _draft_deletion(await plan_role_deletion(context, key, obj))


async def foresee(context: Context, key: Key, obj: Object) -> None:
    """Take note of what will be there once an object is worked on, for the others.

    Raises:
        Blocked: nothing of it will be, and why.
        PostgresError: the server refused something.
    """
    if is_deleting(obj):
        return
    if key.kind == "Database":
        planned = await plan_database(context, key, obj)
        context.foresight.add_database(
            planned.link.server, observed=planned.seen.state, desired=planned.desired
        )
    else:
        found = await find_role(context, key, obj)
        if found.refused is not None:
            raise found.refused
        mark = desired_mark(found.claimant, found.observed)
        context.foresight.add_role(
            found.link.server, observed=found.observed, mark=mark
        )


async def _draft_database(context: Context, key: Key, database: Object) -> Draft:
    planned = await plan_database(context, key, database)
    statements = render_script(planned.plan, server=planned.link.server)
    return Draft(statements, planned.pending)


async def _draft_role(context: Context, key: Key, role: Object) -> Draft:
    found = await find_role(context, key, role)
    if found.refused is not None:
        planned = await plan_role(context, key, found, password=None)
        if not planned.plan:
            raise found.refused
        statements = render_script(planned.plan, server=found.link.server)
        return Draft(statements, refused=found.refused)
    password = await foresee_password(context, key, role, found.spec, found.link)
    pending: tuple[Pending, ...] = ()
    if isinstance(password, Blocked):
        if not found.observed.exists:
            raise password
        pending = (Pending("spec.password", password.reason, password.message),)
        password = None
    planned = await plan_role(context, key, found, password=password)
    statements = render_script(planned.plan, server=found.link.server)
    return Draft(statements, pending + planned.resolved.pending)


def _draft_deletion(planned: DeletionPlan) -> Draft:
    if planned.link is None:
        return Draft()
    return Draft(render_script(planned.plan, server=planned.link.server))

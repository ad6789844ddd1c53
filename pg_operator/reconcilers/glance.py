"""A look from outside at what the leader before left settled; nobody enters a database.

It is for the start of a controller, where everything is looked at and nearly nothing
changed. A session for each database would cost more than all the rest.
"""

from pg_operator.api.conditions import Reason
from pg_operator.reconcilers.binding import reconcile_binding
from pg_operator.reconcilers.context import Context
from pg_operator.reconcilers.database_planning import plan_database
from pg_operator.reconcilers.outcome import Key, Object, Outcome, is_deleting
from pg_operator.reconcilers.progress import Blocked, condition, is_current
from pg_operator.reconcilers.reach import find_cluster
from pg_operator.reconcilers.role_planning import find_role, plan_role
from pg_operator.reconcilers.service import reconcile_service

SETTLED = Outcome(is_settled=True)


async def is_settled(context: Context, key: Key, obj: Object) -> bool:
    """Tell whether all that shared catalogs show is as a Ready object declares.

    What the object has in Kubernetes, its Service or its connection Secret, is made
    true on the way.

    Raises:
        Blocked: it cannot be worked on now.
        PostgresError: the server refused something.
    """
    if is_deleting(obj) or not _is_reconciled(obj):
        return False
    cluster = find_cluster(context.objects, obj["spec"]["databaseClusterRef"]["name"])
    if not _is_reconciled(cluster, Reason.CONNECTED):
        return False
    if key.kind == "Database":
        return await _is_database_settled(context, key, obj)
    return await _is_role_settled(context, key, obj)


def _is_reconciled(obj: Object, reason: Reason = Reason.RECONCILED) -> bool:
    """Tell whether it is Ready as it stands, and for no other reason."""
    return is_current(obj) and condition(obj, "Ready").get("reason") == reason


async def _is_database_settled(context: Context, key: Key, database: Object) -> bool:
    planned = await plan_database(context, key, database, enter=False)
    state = planned.seen.state
    if planned.plan.operations or planned.pending or not _is_same(state.oid, database):
        return False
    service = await reconcile_service(
        context, key, database, planned.spec, planned.link
    )
    return service is None or service.ready


async def _is_role_settled(context: Context, key: Key, role: Object) -> bool:
    found = await find_role(context, key, role)
    if found.refused is not None or not found.observed.exists:
        return False
    if not _is_same(found.observed.oid, role):
        return False
    binding = await reconcile_binding(context, key, role, found.spec, found.link)
    if binding.problem is not None or isinstance(binding.password, Blocked):
        return False
    planned = await plan_role(
        context, key, found, password=binding.password, enter=False
    )
    return not (planned.plan.operations or planned.resolved.pending)


def _is_same(oid: object, obj: Object) -> bool:
    """Tell whether it is the database or role that the status is about."""
    return bool(obj["status"].get("oid") == oid)

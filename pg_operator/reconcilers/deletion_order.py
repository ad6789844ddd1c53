"""Roles and databases that go together: which of them goes first."""

from datetime import datetime, timedelta
from typing import Final

from pg_operator.api.conditions import Reason
from pg_operator.plan.state import Dependencies
from pg_operator.reconcilers.context import Context
from pg_operator.reconcilers.outcome import Object, is_deleting, key_of
from pg_operator.reconcilers.ownership import ownership_of
from pg_operator.reconcilers.pause import find_pause
from pg_operator.reconcilers.progress import Blocked
from pg_operator.reconcilers.servers import Link
from pg_operator.reconcilers.shared import observe_shared_database

DATABASES_MAY_FOLLOW: Final = timedelta(seconds=10)


async def await_databases(
    context: Context,
    link: Link,
    role: Object,
    dependencies: Dependencies,
    *,
    patient: bool,
) -> None:
    """Wait for databases that are being dropped with all that the role owns.

    Who deletes both may delete the role first: when `patient`, databases of the same
    namespace that are dropped with their objects are given a moment to go, too.
    Those that are held by an annotation are not waited for: they may never go.

    Raises:
        Blocked: everything the role owns goes with them.
    """
    owned = dependencies.owner_in | dependencies.owned_databases
    cluster = role["spec"]["databaseClusterRef"]["name"]
    droppable = [
        database
        for name in owned
        for database in context.objects.named("Database", cluster, name)
        if database["spec"].get("deletionPolicy") == "Delete"
        and find_pause(context.objects, database) is None
        and await _has_its_database(context, link, database)
    ]
    going = {
        database["spec"].get("name")
        for database in droppable
        if _is_going(context, database)
    }
    if owned and owned <= going:
        raise Blocked(
            Reason.WAITING_FOR_REFERENCES,
            "the role goes as soon as the databases with its objects in them are "
            "dropped",
        )
    may_go = going | {
        database["spec"].get("name")
        for database in droppable
        if database["metadata"]["namespace"] == role["metadata"]["namespace"]
    }
    left = DATABASES_MAY_FOLLOW - _terminating_for(context, role)
    if patient and owned and owned <= may_go and left > timedelta():
        raise Blocked(
            Reason.WAITING_FOR_REFERENCES,
            "the role owns objects in databases of this namespace only that are "
            "dropped when they are deleted; if they stay, it is disabled in a moment",
            requeue_after=left,
        )


def _terminating_for(context: Context, obj: Object) -> timedelta:
    """Return how long ago an object's deletion began."""
    began = datetime.fromisoformat(obj["metadata"]["deletionTimestamp"])
    return context.now() - began


async def _has_its_database(context: Context, link: Link, database: Object) -> bool:
    """Tell whether deleting a Database drops the database, and not only a claim to it.

    One that lost the name to another would have roles wait that it has nothing to do
    with, for as long as its namespace likes.
    """
    claimant = context.claimant(key_of("Database", database))
    if claimant is None:
        return False
    observed = await observe_shared_database(context, link, database["spec"]["name"])
    return ownership_of(context, link, observed, claimant).may_delete


def _is_going(context: Context, database: Object) -> bool:
    """Tell whether a Database is being deleted, or is about to with its Namespace."""
    if is_deleting(database):
        return True
    namespace = context.objects.namespace(database["metadata"]["namespace"])
    return namespace is not None and is_deleting(namespace)

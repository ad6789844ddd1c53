"""A look from outside at what was settled; nobody enters a database.

It is for the start of a controller after a leader that left all settled, and for other
rules of a DatabaseCluster, or another DSN to the same server, where everything is
looked at and nearly nothing changed. A session for each database would cost more than
all the rest.
"""

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Final

from pg_operator.api.conditions import Reason
from pg_operator.plan.deletion import effective_role_policy
from pg_operator.reconcilers.binding import reconcile_binding
from pg_operator.reconcilers.context import Context
from pg_operator.reconcilers.database_planning import plan_database
from pg_operator.reconcilers.outcome import Key, Object, Outcome, is_deleting, key_of
from pg_operator.reconcilers.progress import Blocked, condition, is_current
from pg_operator.reconcilers.reach import find_cluster
from pg_operator.reconcilers.references import link_to
from pg_operator.reconcilers.role_planning import FoundRole, find_role, plan_role
from pg_operator.reconcilers.servers import Link
from pg_operator.reconcilers.service import reconcile_service
from pg_operator.reconcilers.survey import Survey

SETTLED: Final = Outcome(is_settled=True)


class Glances:
    """The looks from outside that are due, each key's once.

    What shared catalogs say is read of hundreds at a time.
    """

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        self._keys = set(keys)
        self._surveys: dict[str, Survey] = {}

    def add(self, key: Key) -> None:
        """Let a key have such a look, by what is there from now on.

        It is read together with what the others need, hence all of it anew.
        """
        self._keys.add(key)
        self._surveys.clear()

    def discard(self, key: Key) -> None:
        """Let a key have no such look: it needs a whole one."""
        self._keys.discard(key)

    def take(self, key: Key) -> bool:
        """Tell whether a key is to be looked at so, now."""
        is_due = key in self._keys
        self._keys.discard(key)
        return is_due

    async def is_settled(self, context: Context, key: Key, obj: Object) -> bool:
        """Tell whether all that shared catalogs show is as a Ready object declares.

        What the object has in Kubernetes, its Service or its connection Secret, is made
        true on the way. What is in the way of it is for a whole look to deal with.

        Raises:
            PostgresError: the server refused something.
        """
        if is_deleting(obj) or not _is_reconciled(obj):
            return False
        try:
            return await self._shows_nothing(context, key, obj)
        except Blocked:
            return False
        finally:
            if not self._keys:
                self._surveys.clear()  # who still looks has the one that it needs

    async def _shows_nothing(self, context: Context, key: Key, obj: Object) -> bool:
        name = obj["spec"]["databaseClusterRef"]["name"]
        cluster = find_cluster(context.objects, name)
        link = await link_to(context, cluster)
        context = replace(context, survey=self._survey(context, link, name, key))
        if key.kind == "Database":
            return await _is_database_settled(context, key, obj)
        return await _is_role_settled(context, key, obj)

    def _survey(self, context: Context, link: Link, cluster: str, key: Key) -> Survey:
        """Return what is known of a server, by the link that there is now."""
        survey = self._surveys.get(cluster)
        if survey is None or not survey.is_of(link):
            roles, databases = _names(context, cluster, {key, *self._keys})
            survey = Survey(link, context.keyring, roles=roles, databases=databases)
            self._surveys[cluster] = survey
        return survey


def _names(
    context: Context, cluster: str, keys: Collection[Key]
) -> tuple[dict[str, None], dict[str, None]]:
    """Return the roles and databases that objects on a DatabaseCluster are about."""
    roles, databases = dict[str, None](), dict[str, None]()
    for database in context.objects.of_cluster("Database", cluster):
        if key_of("Database", database) in keys:
            databases[database["spec"]["name"]] = None
    for role in context.objects.of_cluster("DatabaseRole", cluster):
        if key_of("DatabaseRole", role) in keys:
            roles[role["spec"]["roleName"]] = None
    return roles, databases


def _is_reconciled(obj: Object) -> bool:
    """Tell whether it is Ready as it stands, and for no other reason."""
    reason = condition(obj, "Ready").get("reason")
    return is_current(obj) and reason == Reason.RECONCILED


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
    is_there = found.observed.exists and _is_same(found.observed.oid, role)
    if found.refused is not None or not is_there or _has_strays(found):
        return False
    binding = await reconcile_binding(context, key, role, found.spec, found.link)
    if binding.problem is not None or isinstance(binding.password, Blocked):
        return False
    planned = await plan_role(
        context, key, found, password=binding.password, enter=False
    )
    policy = effective_role_policy(
        found.spec.deletion_policy, found.dependencies, mark=planned.mark
    )
    is_told = role["status"].get("deletionPolicy") == policy
    return is_told and not (planned.plan.operations or planned.resolved.pending)


def _has_strays(found: FoundRole) -> bool:
    """Tell whether an Exact role was granted anything where its spec grants nothing."""
    if found.spec.grants_policy != "Exact":
        return False
    named = {permission.database for permission in found.spec.permissions}
    return not found.dependencies.granted_in <= named


def _is_same(oid: object, obj: Object) -> bool:
    """Tell whether it is the database or role that the status is about."""
    return bool(obj["status"].get("oid") == oid)

"""The one way in: a key, and what came of it."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import NoReturn, Self

from pg_operator.api.conditions import Reason
from pg_operator.api.specs import Kind
from pg_operator.kube.client import Kubernetes
from pg_operator.kube.errors import Forbidden, NamespaceTerminating
from pg_operator.kube.paths import crd_path
from pg_operator.postgres.errors import (
    AlreadyExistsNow,
    NotFound,
    PostgresError,
    Transient,
)
from pg_operator.reconcilers.cluster import reconcile_cluster
from pg_operator.reconcilers.context import Context, is_let_go
from pg_operator.reconcilers.database import reconcile_database
from pg_operator.reconcilers.deletion import finalize_database, finalize_role
from pg_operator.reconcilers.deletion_planning import (
    deletion_blocked,
    keeps_everything,
)
from pg_operator.reconcilers.glance import SETTLED, Glances
from pg_operator.reconcilers.keys import load_keyring
from pg_operator.reconcilers.outcome import (
    CreatesLess,
    Event,
    Key,
    Object,
    Objects,
    Outcome,
    Wake,
    is_deleting,
    key_of,
)
from pg_operator.reconcilers.pause import Mode, Pause, find_pause
from pg_operator.reconcilers.paused import (
    paused_outcome,
    planned_nothing,
    reconcile_planned,
)
from pg_operator.reconcilers.progress import Blocked, condition, is_current, says
from pg_operator.reconcilers.reach import unavailable
from pg_operator.reconcilers.references import (
    SERVER_LOST,
    blocked_outcome,
    reason_of,
)
from pg_operator.reconcilers.role import password_is_pending, reconcile_role
from pg_operator.reconcilers.servers import Servers
from pg_operator.reconcilers.settings import Settings
from pg_operator.reconcilers.sweep import Sweeps, tend_servers


class Reconcilers:
    """Reconciles one object at a time, for as long as the controller runs."""

    def __init__(self, context: Context, settings: Settings) -> None:
        self._context = context
        self._settings = settings

    @classmethod
    async def start(
        cls,
        *,
        objects: Objects,
        kubernetes: Kubernetes,
        settings: Settings,
        wake: Wake,
        creates_less: CreatesLess,
        may_write: Callable[[], bool],
    ) -> Self:
        """Read the operator's keys and identity, and be ready to reconcile.

        `may_write` tells whether this controller, of several, is the one that works.

        Raises:
            KubernetesError: the API server does not answer, or refuses.
            ValueError: the Secret with the operator's keys is broken.
        """
        servers = Servers(
            kubernetes=kubernetes,
            settings=settings,
            on_change=partial(wake_objects, objects, wake=wake),
            on_lost=lambda cluster: wake(Key("DatabaseCluster", "", cluster)),
            may_write=may_write,
        )
        return cls(
            Context(
                objects=objects,
                kubernetes=kubernetes,
                servers=servers,
                keyring=await load_keyring(kubernetes, settings.namespace),
                owner_id=await kubernetes.kube_system_uid(),
                now=lambda: datetime.now(UTC),
                creates_less=creates_less,
            ),
            settings,
        )

    async def reconcile(self, key: Key, *, glances: Glances | None = None) -> Outcome:
        """Do what one object needs now, and say what came of it.

        One of `glances` is enough for what nobody touched since it was true: it is
        looked at from outside, and only where that shows a difference as always.
        """
        obj = self._context.objects.get(key)
        if obj is None:
            return await self._forget(key)
        try:
            outcome = await self._reconcile(key, obj, glances=glances)
        except NamespaceTerminating:
            raise
        except Forbidden as error:
            outcome = _forbidden(obj, error)
        if "plan" in obj.get("status", {}) and "plan" not in outcome.status:
            # It is of a moment when somebody asked for it.
            return replace(outcome, status={**outcome.status, "plan": None})
        return outcome

    async def _reconcile(
        self, key: Key, obj: Object, *, glances: Glances | None
    ) -> Outcome:
        if key.kind == "DatabaseCluster":
            return await reconcile_cluster(self._context, key, obj)
        if is_deleting(obj) and is_let_go(obj):
            message = "Let go by annotation; the server is left as it is"
            event = Event("Warning", "Released", message)
            return Outcome(release=True, events=(event,))
        pause = find_pause(self._context.objects, obj)
        if pause is not None and pause.mode is Mode.PAUSED:
            return paused_outcome(obj, pause)
        if is_deleting(obj):
            obj = await self._spared(key.kind, obj)
        if pause is not None:
            return await self._plan(key, obj, pause)
        return await self._work(key, obj, glances=glances)

    async def _plan(self, key: Key, obj: Object, pause: Pause) -> Outcome:
        """Say what would be done, and only to whom it would be."""
        try:
            self._check_namespace(key, obj)
        except Blocked as blocked:
            return planned_nothing(obj, pause, blocked)
        return await reconcile_planned(self._context, key, obj, pause)

    async def _work(self, key: Key, obj: Object, *, glances: Glances | None) -> Outcome:
        """Make it true, or say what is in the way."""
        try:
            self._check_namespace(key, obj)
            if glances and await glances.is_settled(self._context, key, obj):
                return SETTLED
            return await self._dispatch(key, obj)
        except Blocked as reason:
            blocked = reason
        except PostgresError as error:
            failed = self._failed(key, obj, error)
            if isinstance(failed, Outcome):
                return failed
            blocked = failed
        if await self._is_password_pending(key, obj, blocked):
            blocked = Blocked(Reason.PASSWORD_PENDING, blocked.message)
        return blocked_outcome(blocked, obj)

    async def _spared(self, kind: Kind, obj: Object) -> Object:
        """Return a deleted object, with Retain if its very CRD is being deleted.

        Then nobody decided about this object, and nothing of it is to be lost.
        """
        policy = obj["spec"].get("deletionPolicy")
        if policy == "Retain" or (kind == "Database" and policy != "Delete"):
            return obj
        crd = await self._context.kubernetes.get(crd_path(kind))
        if crd is not None and not is_deleting(crd):
            return obj
        return {**obj, "spec": {**obj["spec"], "deletionPolicy": "Retain"}}

    def _check_namespace(self, key: Key, obj: Object) -> None:
        """Hold an object to where the operator works; deleting needs no right there.

        Raises:
            Blocked: it is none of these namespaces.
        """
        if not (is_deleting(obj) or self._settings.works_in(key.namespace)):
            raise Blocked(
                Reason.NOT_ALLOWED,
                f"the operator does not work in namespace '{key.namespace}'; ask its "
                "administrator to add it to --namespaces",
            )

    async def tend(self, sweeps: Sweeps) -> NoReturn:
        """Sweep the servers and close connections that nobody uses, for ever."""
        await tend_servers(self._context.servers, sweeps)

    async def close(self) -> None:
        """Close every connection."""
        await self._context.servers.close()

    async def _forget(self, key: Key) -> Outcome:
        if key.kind == "DatabaseCluster":
            await self._context.servers.forget(key.name)
        return Outcome()

    async def _dispatch(self, key: Key, obj: Object) -> Outcome:
        match key.kind, is_deleting(obj):
            case "Database", False:
                return await reconcile_database(self._context, key, obj)
            case "Database", True:
                return await finalize_database(self._context, key, obj)
            case "DatabaseRole", False:
                return await reconcile_role(self._context, key, obj)
            case _:
                return await finalize_role(self._context, key, obj)

    async def _is_password_pending(
        self, key: Key, obj: Object, blocked: Blocked
    ) -> bool:
        """Tell whether an outage keeps a changed password from the server.

        Nothing else is pending of an object that was Ready as it stands, or said so
        when it was looked at before.
        """
        return (
            key.kind == "DatabaseRole"
            and blocked.reason == Reason.CLUSTER_UNAVAILABLE
            and (is_current(obj) or says(obj, Reason.PASSWORD_PENDING))
            and not is_deleting(obj)
            and await password_is_pending(self._context, key, obj)
        )

    def _failed(self, key: Key, obj: Object, error: PostgresError) -> Outcome | Blocked:
        """Say what the server refused; anything may help, so it is tried again."""
        cluster = obj["spec"]["databaseClusterRef"]["name"]
        if isinstance(error, SERVER_LOST):
            self._context.servers.lost(cluster)
            blocked = unavailable(cluster)
            if not is_deleting(obj):
                return blocked
            if keeps_everything(key.kind, obj["spec"]):
                return Outcome(release=True)
            return deletion_blocked(blocked.message)
        is_passing = isinstance(error, Transient) and is_current(obj)
        if is_passing or isinstance(error, AlreadyExistsNow | NotFound):
            return Outcome(retry=True)
        blocked = Blocked(reason_of(error), str(error))
        if is_deleting(obj):
            blocked = deletion_blocked(blocked.message)
        return replace(blocked.outcome(obj), retry=True)


def _forbidden(obj: Object, error: Forbidden) -> Outcome:
    """Say which right on the API server is lacking."""
    blocked = Blocked(
        Reason.FORBIDDEN,
        f"the API server refuses the operator a right that it needs: {error}; "
        "compare its ClusterRoles with those of config/rbac",
    )
    return replace(blocked.outcome(obj), retry=True)


def wake_objects(
    objects: Objects, cluster: str, *, wake: Wake, outside: bool = False
) -> None:
    """Wake what a server that returned was waited for: what is urgent goes ahead.

    First those who cannot log in by the password that they were told, then deletions,
    then the rest, for whom a look from `outside` may do.
    """
    kinds: tuple[Kind, ...] = ("Database", "DatabaseRole")
    woken = [
        (key_of(k, obj), obj) for k in kinds for obj in objects.of_cluster(k, cluster)
    ]
    for key, obj in woken:
        if condition(obj, "Ready").get("reason") == Reason.PASSWORD_PENDING:
            wake(key, ahead=True)
    for key, obj in woken:
        if is_deleting(obj):
            wake(key, ahead=True)
    for key, _ in woken:
        wake(key, outside=outside)

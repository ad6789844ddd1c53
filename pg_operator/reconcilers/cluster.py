"""A DatabaseCluster: probe its server and say what it is and what is missing."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from pg_operator.api.conditions import Condition, Reason
from pg_operator.api.specs import DatabaseClusterSpec
from pg_operator.plan.rights import missing_rights, open_door
from pg_operator.plan.state import Server
from pg_operator.reconcilers.context import Context
from pg_operator.reconcilers.outcome import Event, Key, Object, Outcome, is_deleting
from pg_operator.reconcilers.pause import pause_of, paused_condition
from pg_operator.reconcilers.progress import condition, stalled, waiting
from pg_operator.reconcilers.servers import Unavailable

PROBE_AGAIN: Final = timedelta(seconds=3)


async def reconcile_cluster(context: Context, key: Key, cluster: Object) -> Outcome:
    """Probe the server; a DatabaseCluster that is being deleted still serves."""
    pause = pause_of(cluster)
    if is_deleting(cluster) and not (pause or any(_dependents(context, key.name))):
        await context.servers.forget(key.name)
        return Outcome(release=True)
    # Also while its objects are held: a probe writes nothing, and plans need it.
    outcome = await _probe(context, cluster)
    if pause is None:
        return outcome
    return replace(outcome, conditions=(*outcome.conditions, paused_condition(pause)))


async def _probe(context: Context, cluster: Object) -> Outcome:
    deleting = is_deleting(cluster)
    try:
        link = await context.servers.connect(cluster)
    except Unavailable as unavailable:
        return _unavailable(cluster, unavailable, deleting=deleting)
    available = _available(link.server, cluster, database=link.dsn.dbname)
    return Outcome(
        conditions=(available, *_ready(available, deleting=deleting)),
        status={
            "ownerId": context.owner_id_on(cluster["spec"]),
            **_server_status(link.server),
        },
        events=_change(cluster, available),
    )


def _dependents(context: Context, name: str) -> Iterator[Object]:
    yield from context.objects.of_cluster("Database", name)
    yield from context.objects.of_cluster("DatabaseRole", name)


def _available(server: Server, cluster: Object, *, database: str) -> Condition:
    """Say that the server answers, what its login lacks, and what others have."""
    spec = DatabaseClusterSpec.parse(cluster["spec"])
    missing = missing_rights(server, max_connections=spec.max_connections)
    if missing:
        message = f"login '{server.login}': {'; '.join(missing)}"
        return Condition("Available", "True", Reason.MISSING_PRIVILEGES, message)
    message = f"connected to PostgreSQL {server.version} as '{server.login}'"
    if warning := open_door(server, database=database):
        message += f"; {warning}"
    return Condition("Available", "True", Reason.CONNECTED, message)


def _ready(available: Condition, *, deleting: bool) -> tuple[Condition, ...]:
    if deleting:
        return _held()
    if available.reason == Reason.MISSING_PRIVILEGES:
        return (
            Condition("Ready", "False", available.reason, available.message),
            Condition("Stalled", "True", available.reason, available.message),
        )
    return (Condition("Ready", "True", available.reason, available.message),)


def _held() -> tuple[Condition, ...]:
    """Say why it is still there, whether its server is or not."""
    message = (
        "held until the Databases and DatabaseRoles that name it are deleted, and no "
        "annotation pauses it; until then it serves them"
    )
    return waiting(Reason.DELETION_BLOCKED, message)


def _unavailable(
    cluster: Object, unavailable: Unavailable, *, deleting: bool
) -> Outcome:
    reason, message = unavailable.reason, unavailable.message
    available = Condition("Available", "False", reason, message)
    state = stalled if unavailable.terminal else waiting
    return Outcome(
        conditions=(available, *(_held() if deleting else state(reason, message))),
        events=_change(cluster, available),
        requeue_after=None if unavailable.terminal else PROBE_AGAIN,
    )


def _change(cluster: Object, available: Condition) -> tuple[Event, ...]:
    """One Event when availability changes, none while it stays."""
    if condition(cluster, "Available").get("reason") == available.reason:
        return ()
    kind = "Normal" if available.status == "True" else "Warning"
    return (Event(kind, available.reason, available.message),)  # type: ignore[arg-type]


def _server_status(server: Server) -> dict[str, Any]:
    return {
        "server": {
            "version": server.version,
            "versionNumber": server.version_number,
            "systemIdentifier": server.system_identifier,
            "startedAt": server.started_at,
            "inRecovery": server.in_recovery,
        },
        "capabilities": {
            "superuser": server.superuser,
            "createDatabase": server.create_database,
            "createRole": server.create_role,
            "signalBackend": server.signal_backend,
        },
    }

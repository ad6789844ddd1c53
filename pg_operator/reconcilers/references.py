"""The way from an object to its server, and what a stop on it means."""

from typing import Final

from pg_operator.api.conditions import Reason
from pg_operator.postgres.errors import (
    AuthenticationFailed,
    LockHeld,
    MissingPrivilege,
    PostgresError,
    ServerRefused,
    ServerUnreachable,
    Transient,
)
from pg_operator.reconcilers.context import Context
from pg_operator.reconcilers.outcome import Object, Outcome, is_deleting
from pg_operator.reconcilers.progress import Blocked, is_current
from pg_operator.reconcilers.reach import unavailable
from pg_operator.reconcilers.servers import Link, Unavailable

# The server itself is away or refuses everybody: the DatabaseCluster's business.
SERVER_LOST: Final = (ServerUnreachable, AuthenticationFailed, ServerRefused)


async def link_to(context: Context, cluster: Object) -> Link:
    """Return the link to a DatabaseCluster's server.

    Raises:
        Blocked: the server cannot be used now.
    """
    try:
        return await context.servers.link(cluster)
    except Unavailable:
        raise unavailable(cluster["metadata"]["name"]) from None


def blocked_outcome(blocked: Blocked, obj: Object) -> Outcome:
    """Return a blocked object's outcome.

    An outage takes nothing from an object that is Ready as it stands: it stays Ready,
    and its DatabaseCluster says what is wrong.
    """
    is_outage = blocked.reason == Reason.CLUSTER_UNAVAILABLE
    if is_outage and is_current(obj) and not is_deleting(obj):
        return Outcome()
    return blocked.outcome(obj)


def reason_of(error: PostgresError) -> Reason:
    """Say in one word what the server refused."""
    if isinstance(error, Transient | LockHeld):
        return Reason.SERVER_BUSY
    if isinstance(error, MissingPrivilege):
        return Reason.MISSING_PRIVILEGES
    return Reason.SERVER_ERROR

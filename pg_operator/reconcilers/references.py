"""The way from an object to its server, and every reason to stop on it."""

from pg_operator.api.conditions import Reason
from pg_operator.api.names import expand_prefix
from pg_operator.api.specs import DatabaseClusterSpec
from pg_operator.api.validation import validate_databasecluster
from pg_operator.reconcilers.context import Context
from pg_operator.reconcilers.outcome import Key, Object, Outcome, is_deleting
from pg_operator.reconcilers.progress import Blocked, is_current
from pg_operator.reconcilers.servers import Link, Unavailable


def find_cluster(context: Context, name: str) -> Object:
    """Return a DatabaseCluster.

    Raises:
        Blocked: it does not exist.
    """
    cluster = context.objects.get(Key("DatabaseCluster", "", name))
    if cluster is None:
        raise Blocked(
            Reason.CLUSTER_NOT_FOUND,
            f"spec.databaseClusterRef.name: DatabaseCluster '{name}' does not exist; "
            "the object is worked on as soon as it does",
        )
    return cluster


def check_allowed(cluster: Object, key: Key, *, path: str, name: str) -> None:
    """Hold an object to what its DatabaseCluster lets its namespace do.

    Raises:
        Blocked: the namespace is not let in, the name lacks its prefix, or the
            DatabaseCluster is not valid.
    """
    cluster_name = cluster["metadata"]["name"]
    if validate_databasecluster(cluster).errors:
        # The next probe says so; until then, whom it lets in is not known.
        raise unavailable(cluster_name)
    spec = DatabaseClusterSpec.parse(cluster["spec"])
    if not spec.allowed_namespaces.allows(key.namespace):
        raise Blocked(
            Reason.NOT_ALLOWED,
            f"namespace '{key.namespace}' may not use DatabaseCluster "
            f"'{cluster_name}'; ask its administrator to add it to "
            "spec.allowedNamespaces",
        )
    prefix = expand_prefix(spec.name_prefix or "", namespace=key.namespace)
    if not name.startswith(prefix):
        raise Blocked(
            Reason.NOT_ALLOWED,
            f"{path}: Invalid value: \"{name}\": must start with '{prefix}' on "
            f"DatabaseCluster '{cluster_name}'; try '{prefix}{name}'",
            terminal=True,
        )


async def link_to(context: Context, cluster: Object) -> Link:
    """Return the link to a DatabaseCluster's server.

    Raises:
        Blocked: the server cannot be used now.
    """
    try:
        return await context.servers.link(cluster)
    except Unavailable:
        raise unavailable(cluster["metadata"]["name"]) from None


def unavailable(cluster_name: str) -> Blocked:
    """Say to a tenant that the server is away, and nothing more about it."""
    return Blocked(
        Reason.CLUSTER_UNAVAILABLE,
        f"DatabaseCluster '{cluster_name}' is not available; its conditions say why, "
        "and the object is worked on as soon as it is",
    )


def blocked_outcome(blocked: Blocked, obj: Object) -> Outcome:
    """Return a blocked object's outcome.

    An outage takes nothing from an object that is Ready as it stands: it stays Ready,
    and its DatabaseCluster says what is wrong.
    """
    is_outage = blocked.reason == Reason.CLUSTER_UNAVAILABLE
    if is_outage and is_current(obj) and not is_deleting(obj):
        return Outcome()
    return blocked.outcome(obj)

"""What an object may use, as far as the stored objects tell. No I/O, no server.

Reconcilers stop at what is said here; the webhook says it before the object is stored.
"""

from collections.abc import Collection, Iterator
from typing import Final

from pg_operator.api.conditions import Reason
from pg_operator.api.names import expand_prefix
from pg_operator.api.specs import AllowedNamespaces, DatabaseClusterSpec, DatabaseSpec
from pg_operator.api.validation import validate_databasecluster
from pg_operator.plan.role_references import RoleStanding
from pg_operator.plan.state import Pending, membership_path
from pg_operator.reconcilers.outcome import Key, Object, Objects, is_deleting, key_of
from pg_operator.reconcilers.progress import Blocked

# Every database has it, and no Database needs to list it.
OPEN_SCHEMAS: Final = frozenset({"public"})


def find_cluster(objects: Objects, name: str) -> Object:
    """Return a DatabaseCluster.

    Raises:
        Blocked: it does not exist.
    """
    cluster = objects.get(Key("DatabaseCluster", "", name))
    if cluster is None:
        raise Blocked(
            Reason.CLUSTER_NOT_FOUND,
            f"spec.databaseClusterRef.name: DatabaseCluster '{name}' does not exist; "
            "the object is worked on as soon as it does",
        )
    return cluster


def lets_in(
    allowed: AllowedNamespaces,
    namespace: str,
    *,
    objects: Objects,
    own: str | None = None,
) -> bool:
    """Tell whether a namespace is let in, as far as it was seen yet."""
    found = objects.namespace(namespace)
    labels = None if found is None else found["metadata"].get("labels", {})
    return allowed.allows(namespace, labels=labels, own=own)


def check_allowed(
    cluster: Object, key: Key, *, objects: Objects, path: str, name: str
) -> None:
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
    if not lets_in(spec.allowed_namespaces, key.namespace, objects=objects):
        raise Blocked(
            Reason.NOT_ALLOWED,
            f"namespace '{key.namespace}' may not use DatabaseCluster "
            f"'{cluster_name}'; ask its administrator to let it in by "
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


def unavailable(cluster_name: str) -> Blocked:
    """Say to a tenant that the server is away, and nothing more about it."""
    return Blocked(
        Reason.CLUSTER_UNAVAILABLE,
        f"DatabaseCluster '{cluster_name}' is not available; its conditions say why, "
        "and the object is worked on as soon as it is",
    )


def terminating(cluster_name: str, *, what: str) -> Blocked:
    """Say that a DatabaseCluster takes nothing new; `what` is like "databases"."""
    return Blocked(
        Reason.CLUSTER_TERMINATING,
        f"DatabaseCluster '{cluster_name}' is being deleted and takes no new {what}",
    )


def databases_named(
    objects: Objects, cluster: str, name: str
) -> Iterator[tuple[Key, DatabaseSpec]]:
    """Find the valid Databases of a cluster that want a name, with their keys."""
    for database in objects.named("Database", cluster, name):
        if database["spec"].get("name") != name or is_deleting(database):
            continue
        spec = objects.declared(database)
        if spec is not None:
            yield key_of("Database", database), spec


def why_not_granted(
    database: str, *, cluster: str, namespace: str, open_to_it: Collection[bool]
) -> Pending:
    """Say why nothing is granted in a database now.

    `open_to_it` tells of each Database of that name whether it lets the namespace in.
    """
    path = f"spec.permissions[{database}]"
    if not open_to_it:
        return Pending(
            path,
            Reason.DATABASE_NOT_FOUND,
            f"no Database named '{database}' is declared on DatabaseCluster "
            f"'{cluster}'; it is granted on as soon as one is",
        )
    if any(open_to_it):
        return Pending(
            path,
            Reason.DATABASE_NOT_READY,
            f"database '{database}' is not Ready yet; it is granted on as soon as its "
            "Database is",
        )
    return Pending(
        path,
        Reason.NOT_ALLOWED,
        f"database '{database}' is not open to namespace '{namespace}'; ask for it to "
        "be let in by its spec.allowedNamespaces",
    )


def why_not_in_schema(database: str, schema: str) -> Pending:
    """Say why nothing is granted in a schema that the Database does not list."""
    return Pending(
        f"spec.permissions[{database}].schemas[{schema}]",
        Reason.NOT_ALLOWED,
        f"schema '{schema}' is not listed by the Database; add it to its spec.schemas",
    )


def roles_named(
    objects: Objects, *, cluster: str, name: str, namespace: str
) -> Iterator[Object]:
    """Find the living DatabaseRoles of a namespace that ask for a name."""
    for role in objects.named("DatabaseRole", cluster, name):
        is_ours = role["metadata"]["namespace"] == namespace and not is_deleting(role)
        if is_ours and role["spec"].get("roleName") == name:
            yield role


def why_role_not_used(
    path: str, name: str, standing: RoleStanding, *, cluster: str
) -> Pending:
    """Say why a role does not own or create; nothing of other namespaces' objects."""
    match standing:
        case RoleStanding.NOT_READY:
            reason = Reason.ROLE_NOT_READY
            message = (
                f"role '{name}' is not made yet by its DatabaseRole; it is used as "
                "soon as it is"
            )
        case RoleStanding.ABSENT:
            reason = Reason.ROLE_NOT_FOUND
            message = f"role '{name}' does not exist; it is used as soon as it does"
        case RoleStanding.POWERFUL:
            reason = Reason.NOT_ALLOWED
            message = (
                f"role '{name}' is, or may become, a superuser or the operator's own "
                "login, which no object may name"
            )
        case _:
            reason = Reason.NOT_ALLOWED
            message = (
                f"role '{name}' is no DatabaseRole of this namespace on "
                f"DatabaseCluster '{cluster}', nor one that it lists in "
                "spec.allowedOwners; declare it, or ask for it to be listed"
            )
    return Pending(path, reason, message)


def why_not_joined(name: str, standing: RoleStanding) -> Pending:
    """Say why a role is no member yet of one that the DatabaseCluster does not list."""
    if standing is RoleStanding.NOT_READY:
        return Pending(
            membership_path(name),
            Reason.ROLE_NOT_READY,
            f"role '{name}' is not Ready yet; it is joined as soon as its DatabaseRole "
            "is",
        )
    return Pending(
        membership_path(name),
        Reason.ROLE_NOT_FOUND,
        f"no DatabaseRole of this namespace declares role '{name}', and the "
        "DatabaseCluster does not list it; it is joined as soon as one does",
    )


def why_not_passed_on(name: str) -> Pending:
    """Say that nobody is an admin of a role that the DatabaseCluster lists."""
    return Pending(
        membership_path(name),
        Reason.NOT_ALLOWED,
        f"role '{name}' is shared by the administrator of the DatabaseCluster, so it "
        "may not be passed on; remove `admin`",
    )

"""What deleting an object comes to: what happens on its server, and when it may go."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final

from pg_operator.api.conditions import Reason
from pg_operator.api.specs import Kind
from pg_operator.plan.batches import Plan
from pg_operator.plan.deletion import (
    DatabasePolicy,
    RolePolicy,
    deletion_database,
    deletion_role,
    effective_role_policy,
    heir_name,
)
from pg_operator.plan.desired import desired_mark
from pg_operator.plan.role_references import RoleStanding, role_standing
from pg_operator.plan.state import Dependencies, RoleState
from pg_operator.postgres.observe_dependencies import (
    observe_drop_blockers,
    observe_homes,
    observe_is_plain,
)
from pg_operator.reconcilers.context import RELEASE_ANNOTATION, Context, claimant_of
from pg_operator.reconcilers.deletion_order import await_databases
from pg_operator.reconcilers.outcome import Event, Key, Object, Outcome
from pg_operator.reconcilers.ownership import ownership_of
from pg_operator.reconcilers.progress import Blocked
from pg_operator.reconcilers.reach import find_cluster
from pg_operator.reconcilers.references import link_to
from pg_operator.reconcilers.role_references import declared_by
from pg_operator.reconcilers.row_security import lost_policies
from pg_operator.reconcilers.servers import Link
from pg_operator.reconcilers.shared import observe_shared_database, observe_shared_role

DELETE_AGAIN: Final = timedelta(seconds=5)
DATABASE_POLICIES: Final[Mapping[Any, DatabasePolicy]] = {"Delete": "Delete"}
ROLE_POLICIES: Final[Mapping[Any, RolePolicy]] = {
    "Delete": "Delete",
    "Disable": "Disable",
    "Retain": "Retain",
}


@dataclass(frozen=True, slots=True)
class DeletionPlan:
    """How an object goes: what is done on its server first, and what is said then.

    Without a `link` nothing is done there.
    """

    outcome: Outcome
    link: Link | None = None
    plan: Plan = field(default_factory=Plan)


GONE: Final = DeletionPlan(Outcome(release=True))


async def plan_database_deletion(
    context: Context, key: Key, database: Object
) -> DeletionPlan:
    """Find out how to retain or drop a deleted Database's database.

    What was not this object's own stays untouched. The spec is read raw: an object
    that breaks a rule must still be deletable.

    Raises:
        Blocked: the database is to be dropped, and cannot be yet.
    """
    spec = database["spec"]
    policy = DATABASE_POLICIES.get(spec.get("deletionPolicy"), "Retain")
    link = await _link_or_let_go(context, key, database)
    name = spec.get("name")
    if link is None or not isinstance(name, str):
        return GONE
    observed = await observe_shared_database(context, link, name)
    claimant = claimant_of(context, key)
    if not ownership_of(context, link, observed, claimant).may_delete:
        return GONE
    blockers: tuple[str, ...] = ()
    if policy == "Delete":
        async with link.connections.session() as connection:
            blockers = await observe_drop_blockers(connection, name)
    if blockers:
        raise deletion_blocked(
            f"database '{name}' cannot be dropped: {'; '.join(blockers)}",
            requeue_after=DELETE_AGAIN,
        )
    mark = desired_mark(claimant, observed)
    plan = deletion_database(observed, policy=policy, mark=mark)
    done = "DatabaseDropped" if policy == "Delete" else "DatabaseRetained"
    outcome = _released(done, f"database '{name}'", policy)
    return DeletionPlan(outcome, link, plan)


async def plan_role_deletion(context: Context, key: Key, role: Object) -> DeletionPlan:
    """Find out how to drop, disable or retain a deleted DatabaseRole's role.

    Raises:
        Blocked: the role is to be dropped, and cannot be yet.
    """
    spec = role["spec"]
    declared = ROLE_POLICIES.get(spec.get("deletionPolicy"))
    link = await _link_or_let_go(context, key, role)
    name = spec.get("roleName")
    if link is None or not isinstance(name, str):
        return GONE
    observed, dependencies = await observe_shared_role(context, link, name)
    claimant = claimant_of(context, key)
    if not ownership_of(context, link, observed, claimant).may_delete:
        return GONE
    policy = effective_role_policy(declared, dependencies, mark=observed.mark)
    if policy != "Retain":
        await await_databases(
            context, link, role, dependencies, patient=declared is None
        )
    heir, _ = await observe_shared_role(context, link, heir_name(claimant))
    if policy == "Delete" and (heir.login is True or heir.superuser is True):
        raise deletion_blocked(
            f"role '{heir.name}', which gets what deleted roles own, can log in; ask "
            "the cluster's administrator to make it NOLOGIN NOSUPERUSER",
            requeue_after=DELETE_AGAIN,
        )
    homes: dict[str, frozenset[str]] = {}
    successor: RoleState | None = None
    plain: frozenset[str] = frozenset()
    lost: tuple[Event, ...] = ()
    if policy == "Delete":
        reasons, lost = await lost_policies(link, name, dependencies)
        if reasons:
            raise deletion_blocked("; ".join(reasons), requeue_after=DELETE_AGAIN)
        homes = await _observe_homes(link, name, dependencies)
        successor = await _find_successor(context, key, spec, link)
    if successor is not None:
        plain = await _observe_plain(link, name, dependencies)
    plan = deletion_role(
        observed,
        policy=policy,
        dependencies=dependencies,
        heir=heir,
        homes=homes,
        successor=successor,
        plain=plain,
    )
    done = {
        "Delete": "RoleDropped",
        "Disable": "RoleDisabled",
        "Retain": "RoleRetained",
    }[policy]
    outcome = _released(done, f"role '{name}'", policy)
    outcome = replace(outcome, events=(*lost, *outcome.events))
    return DeletionPlan(outcome, link, plan)


async def _observe_homes(
    link: Link, role: str, dependencies: Dependencies
) -> dict[str, frozenset[str]]:
    """Look into every database where a role owns something, for the schemas."""
    homes = {}
    for database in sorted(dependencies.owner_in):
        async with link.connections.session(database) as connection:
            homes[database] = await observe_homes(connection, role)
    return homes


async def _find_successor(
    context: Context, key: Key, spec: Mapping[str, Any], link: Link
) -> RoleState | None:
    """Return the role that is to own what a deleted one owned, if it may.

    It must be another DatabaseRole's of the same namespace. One that is gone, or goes
    with the namespace, holds nothing up: the role for orphans is always there.
    """
    name = spec.get("reassignOwnedTo")
    cluster = spec["databaseClusterRef"]["name"]
    if not isinstance(name, str) or name == spec["roleName"]:
        return None
    successor, _ = await observe_shared_role(context, link, name)
    owners = tuple(declared_by(context, key, cluster, name))
    standing = role_standing(successor, declared_by=owners, is_listed=False)
    is_reachable = link.server.superuser or successor.self_member is True
    is_usable = standing is RoleStanding.USABLE and successor.superuser is False
    return successor if is_usable and is_reachable else None


async def _observe_plain(
    link: Link, role: str, dependencies: Dependencies
) -> frozenset[str]:
    """Look into every database where a role owns something, for code."""
    plain = set()
    for database in dependencies.owner_in | dependencies.owned_databases:
        async with link.connections.session(database) as connection:
            if await observe_is_plain(connection, role):
                plain.add(database)
    return frozenset(plain)


def keeps_everything(kind: Kind, spec: Mapping[str, Any]) -> bool:
    """Tell whether an object goes at once when its server is away."""
    policy = spec.get("deletionPolicy")
    if kind == "Database":
        return DATABASE_POLICIES.get(policy, "Retain") == "Retain"
    return ROLE_POLICIES.get(policy) == "Retain"


async def _link_or_let_go(context: Context, key: Key, obj: Object) -> Link | None:
    """Return the link, or None when the server is away and nothing is to be dropped.

    Raises:
        Blocked: something is to be dropped, and the server is not there.
    """
    spec = obj["spec"]
    try:
        cluster = find_cluster(context.objects, spec["databaseClusterRef"]["name"])
        return await link_to(context, cluster)
    except Blocked as blocked:
        if keeps_everything(key.kind, spec) or _had_no_server(obj, blocked):
            return None
        raise deletion_blocked(blocked.message) from None
    except (KeyError, TypeError):
        return None  # never valid, so nothing was ever made for it


def _had_no_server(obj: Object, blocked: Blocked) -> bool:
    """Tell whether the DatabaseCluster of an object never was, as after a misspelling.

    One that was there would have outlived the object: it goes after all its objects.
    """
    is_missing = blocked.reason is Reason.CLUSTER_NOT_FOUND
    return is_missing and "oid" not in obj.get("status", {})


def deletion_blocked(why: str, *, requeue_after: timedelta | None = None) -> Blocked:
    """Say why an object cannot go, and how to let it go all the same."""
    return Blocked(
        Reason.DELETION_BLOCKED,
        f"{why}. To let the object go and leave the server as it is, annotate it "
        f"with {RELEASE_ANNOTATION}=true",
        requeue_after=requeue_after,
    )


def _released(reason: str, what: str, policy: str) -> Outcome:
    message = f"Let go of {what} (deletionPolicy {policy})"
    return Outcome(release=True, events=(Event("Normal", reason, message),))

"""The roles that an object names: which of them it may use now, and why not others."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pg_operator.api.specs import DatabaseClusterSpec
from pg_operator.plan.role_references import RoleStanding, role_standing
from pg_operator.plan.state import Claimant, Pending
from pg_operator.postgres.observe_roles import observe_roles
from pg_operator.reconcilers.context import Context
from pg_operator.reconcilers.outcome import Key, Object, key_of
from pg_operator.reconcilers.reach import roles_named, why_role_not_used
from pg_operator.reconcilers.servers import Link


@dataclass(frozen=True, slots=True)
class NamedRoles:
    """The roles of a spec that may be used now, and a word on each other one."""

    usable: frozenset[str] = frozenset()
    pending: tuple[Pending, ...] = ()


async def resolve_roles(
    context: Context,
    key: Key,
    cluster: Object,
    named: Mapping[str, str],
    *,
    link: Link,
) -> NamedRoles:
    """Judge the roles that an object names; `named` maps paths in its spec to names."""
    if not named:
        return NamedRoles()
    cluster_name = cluster["metadata"]["name"]
    listed = DatabaseClusterSpec.parse(cluster["spec"]).allowed_owners
    async with link.connections.session() as connection:
        roles = await observe_roles(
            connection, {*named.values()}, keyring=context.keyring
        )
    standings = {
        name: role_standing(
            context.foresight.role(link.server, role),
            declared_by=tuple(declared_by(context, key, cluster_name, name)),
            is_listed=name in listed,
        )
        for name, role in roles.items()
    }
    usable = {
        name for name, standing in standings.items() if standing is RoleStanding.USABLE
    }
    pending = (
        why_role_not_used(path, name, standings[name], cluster=cluster_name)
        for path, name in named.items()
        if name not in usable
    )
    return NamedRoles(frozenset(usable), tuple(pending))


def declared_by(
    context: Context, key: Key, cluster: str, name: str
) -> Iterator[Claimant]:
    """Find the living DatabaseRoles of an object's namespace that ask for a name."""
    found = roles_named(
        context.objects, cluster=cluster, name=name, namespace=key.namespace
    )
    for role in found:
        claimant = context.claimant(key_of("DatabaseRole", role))
        if claimant is not None:
            yield claimant

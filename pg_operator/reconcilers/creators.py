"""Whose future objects a role's `*` covers, in a database as it is."""

from collections.abc import Mapping

from pg_operator.api.specs import WILDCARD, DatabaseSpec, Permission
from pg_operator.plan.creators import Creators, effective_creators
from pg_operator.plan.permissions import wanted_objects
from pg_operator.plan.state import NOBODY
from pg_operator.postgres.connection import Connection
from pg_operator.postgres.observe_privileges import observe_creators
from pg_operator.reconcilers.context import Context
from pg_operator.reconcilers.outcome import Key
from pg_operator.reconcilers.reach import find_cluster
from pg_operator.reconcilers.role_references import resolve_roles
from pg_operator.reconcilers.servers import Link


async def declared_creators(
    context: Context,
    key: Key,
    database: DatabaseSpec,
    permission: Permission,
    *,
    link: Link,
) -> Mapping[str, frozenset[str]]:
    """Return the `creators` that a Database declares and may name now, by schema.

    Of the schemas only that the permission is on all of a kind in; those without
    declared creators are left out.

    Raises:
        Blocked: the DatabaseCluster went meanwhile.
    """
    schemas = {
        schema.name: schema.creators
        for schema in database.all_schemas
        if schema.creators and schema.name in wildcard_schemas(permission)
    }
    if not schemas:
        return NOBODY
    names = {name: name for creators in schemas.values() for name in creators}
    cluster = find_cluster(context.objects, database.database_cluster_ref.name)
    roles = await resolve_roles(context, key, cluster, names, link=link)
    return {
        schema: frozenset(creators) & roles.usable
        for schema, creators in schemas.items()
    }


async def observe_undeclared(
    connection: Connection,
    permission: Permission,
    declared: Mapping[str, frozenset[str]],
) -> Mapping[str, Creators]:
    """Read who creates objects where the permission covers what nobody declared."""
    asked = sorted(wildcard_schemas(permission) - declared.keys())
    return await observe_creators(connection, asked) if asked else {}


def creators_of(
    permission: Permission,
    *,
    role: str,
    declared: Mapping[str, frozenset[str]],
    observed: Mapping[str, Creators],
) -> Mapping[str, frozenset[str]]:
    """Return whose future objects the permission covers for a role, by schema."""
    return {
        schema: effective_creators(
            declared.get(schema), observed.get(schema, Creators()), role=role
        )
        for schema in wildcard_schemas(permission)
    }


def wildcard_schemas(permission: Permission) -> frozenset[str]:
    """Return the schemas in which a permission is on all of a kind."""
    wanted = wanted_objects(permission)
    return frozenset(on.schema for on in wanted if on.name == WILDCARD)

"""An existing server as objects that, applied to it, change nothing. Pure.

The inverse of `desired`: what the documents declare is what was observed. What they
cannot say is said beside them, as remarks.
"""

from collections import defaultdict
from collections.abc import Collection

from pg_operator.plan.creators import Creators
from pg_operator.plan.diff import PUBLIC_SCHEMA
from pg_operator.plan.export.cluster import Needs, export_cluster
from pg_operator.plan.export.database import DatabaseExport, export_database
from pg_operator.plan.export.documents import Export, ExportedObject, object_names
from pg_operator.plan.export.inventory import (
    Choices,
    DatabaseInventory,
    Inventory,
    RoleInventory,
)
from pg_operator.plan.export.permissions import OpenDatabase
from pg_operator.plan.export.role import export_role
from pg_operator.plan.export.selection import select
from pg_operator.plan.export.wildcards import (
    KindHeld,
    choose_creators,
    grants_by_schema,
    held_on,
    objects_by_schema,
)

__all__ = [
    "Choices",
    "DatabaseInventory",
    "Export",
    "ExportedObject",
    "Inventory",
    "RoleInventory",
    "export",
    "select",
]


def export(inventory: Inventory, choices: Choices) -> Export:
    """Return the objects that a server becomes: DatabaseCluster, Databases, roles."""
    selection = select(inventory, choices)
    names = object_names(selection.database_names)
    databases = [
        export_database(
            database,
            name=names[database.state.name],
            inventory=inventory,
            choices=choices,
            roles=selection.role_names,
            creators=_creators(database, selection.roles),
        )
        for database in selection.databases
    ]
    opened = [_open(database) for database in databases]
    names = object_names(selection.role_names)
    roles = [
        export_role(
            role,
            name=names[role.state.name],
            inventory=inventory,
            choices=choices,
            roles=selection.role_names,
            databases=opened,
        )
        for role in selection.roles
    ]
    documents = (
        tuple(one.exported for one in databases),
        tuple(one.exported for one in roles),
    )
    needs = Needs(
        memberships=frozenset().union(*(one.listed_groups for one in roles)),
        extensions=frozenset().union(*(one.extensions for one in databases)),
    )
    cluster = export_cluster(
        inventory, choices, databases=documents[0], roles=documents[1], needs=needs
    )
    return Export((cluster, *documents[0], *documents[1]), selection.left_out)


def _creators(
    database: DatabaseInventory, roles: Collection[RoleInventory]
) -> dict[str, frozenset[str]]:
    """Return the creators to declare, by schema; most schemas need none."""
    nameable = {role.state.name for role in roles}
    objects = objects_by_schema(database.objects)
    held: defaultdict[str, dict[str, tuple[KindHeld, ...]]] = defaultdict(dict)
    for role in roles:
        grants = grants_by_schema(role.state.grants, database.state.name)
        for schema, granted in grants.items():
            if any(grant.on.creator for grant in granted):
                on = objects.get(schema, ())
                held[schema][role.state.name] = held_on(granted, on)
    chosen = {
        schema: choose_creators(
            held[schema],
            undeclared=database.creators.get(schema, Creators()),
            nameable=nameable,
        )
        for schema in sorted(held)
    }
    return {schema: names for schema, names in chosen.items() if names is not None}


def _open(database: DatabaseExport) -> OpenDatabase:
    listed = {one["name"]: one for one in database.exported.spec.get("schemas", ())}
    return OpenDatabase(
        database.inventory,
        schemas=(frozenset(listed) | {PUBLIC_SCHEMA})
        & database.inventory.state.schemas,
        declared={
            name: frozenset(one["creators"])
            for name, one in listed.items()
            if "creators" in one
        },
        objects=objects_by_schema(database.inventory.objects),
    )

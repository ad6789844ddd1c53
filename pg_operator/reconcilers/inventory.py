"""Reads a whole server for an export: through the eyes of the reconcilers."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from pg_operator.api.specs import WILDCARD, Extension
from pg_operator.plan.export import Choices, DatabaseInventory, Inventory, select
from pg_operator.plan.export.wildcards import KINDS
from pg_operator.plan.grants import Securable
from pg_operator.postgres.connect import ServerConnections
from pg_operator.postgres.connection import Connection
from pg_operator.postgres.dsn import Dsn
from pg_operator.postgres.errors import DatabaseRefused
from pg_operator.postgres.marks import Keyring
from pg_operator.postgres.observe import observe_catalog, observe_server
from pg_operator.postgres.observe_databases import observe_database
from pg_operator.postgres.observe_dependencies import observe_dependencies
from pg_operator.postgres.observe_extensions import (
    observe_extensions,
    observe_trusted,
)
from pg_operator.postgres.observe_inventory import (
    NamedDatabase,
    observe_database_names,
    observe_granted_inside,
    observe_hidden_settings,
    observe_outside,
    observe_public,
    observe_role_names,
    observe_shared_settings,
)
from pg_operator.postgres.observe_parameters import observe_parameter_contexts
from pg_operator.postgres.observe_privileges import (
    Holdings,
    observe_creators,
    observe_database_holdings,
    observe_holdings,
)
from pg_operator.postgres.observe_roles import observe_roles
from pg_operator.reconcilers.holders import Hidden, Holder, roles_of, say_too_long
from pg_operator.reconcilers.inside import with_inside


async def observe_inventory(
    connections: ServerConnections, dsn: Dsn, choices: Choices
) -> Inventory:
    """Read the server behind a DSN, without a write.

    Only the databases that can be exported, and are chosen, are entered.

    Raises:
        PostgresError: the server cannot be read.
    """
    # No mark is opened: whoever has one is managed.
    keyring = Keyring.from_secret(Keyring.generate())
    async with connections.session() as connection:
        server = await observe_server(connection)
        holders = await _holders(connection, keyring)
        databases = [
            await _from_outside(connection, named, keyring)
            for named in await observe_database_names(connection)
        ]
        hidden = await observe_hidden_settings(connection)
        shared = await observe_shared_settings(connection)
        _add_outside(holders, await observe_outside(connection, shared=True))
        contexts = await _contexts(connection, holders.values(), databases)
    seen = Inventory(
        server=server,
        maintenance_database=dsn.dbname,
        logins=frozenset({server.login, dsn.user}),
        databases=tuple(databases),
        roles=roles_of(holders, hidden),
        contexts=contexts,
        shared_settings=shared,
    )
    chosen = select(seen, choices)
    inside = [
        await _from_inside(connections, database, holders, managed=chosen.role_names)
        if database.state.name in chosen.database_names
        else database
        for database in databases
    ]
    return replace(
        seen,
        databases=tuple(_say_hidden(database, hidden) for database in inside),
        roles=roles_of(holders, hidden),
    )


async def _holders(connection: Connection, keyring: Keyring) -> dict[str, Holder]:
    holders = {}
    granted_inside = await observe_granted_inside(connection)
    names = await observe_role_names(connection)
    states = await observe_roles(connection, names, keyring=keyring)
    dependencies = await observe_dependencies(connection, names)
    holdings = await observe_database_holdings(connection, names)
    for name, is_alterable in names.items():
        holder = Holder(
            states[name],
            dependencies[name],
            granted_inside.get(name, frozenset()),
            is_alterable,
        )
        holder.held[""] = holdings[name]
        holders[name] = holder
    return holders


async def _from_outside(
    connection: Connection, named: NamedDatabase, keyring: Keyring
) -> DatabaseInventory:
    unsaid = []
    if named.is_template:
        unsaid.append("not in here: it is marked as a template (IS_TEMPLATE)")
    if named.ctype is not None:
        unsaid.append(f"not in here: its LC_CTYPE is '{named.ctype}'")
    return DatabaseInventory(
        await observe_database(connection, named.name, keyring=keyring),
        is_alterable=named.is_alterable,
        unsaid=tuple(unsaid),
    )


async def _contexts(
    connection: Connection,
    holders: Iterable[Holder],
    databases: Iterable[DatabaseInventory],
) -> dict[str, str]:
    names = {one.name for holder in holders for one in holder.state.parameters}
    names |= {name for database in databases for name in database.state.settings}
    return await observe_parameter_contexts(connection, names)


async def _from_inside(
    connections: ServerConnections,
    database: DatabaseInventory,
    holders: Mapping[str, Holder],
    *,
    managed: Collection[str],
) -> DatabaseInventory:
    """Look into a database, and add what the roles hold there."""
    name = database.state.name
    try:
        async with connections.session(name) as connection:
            held = {
                role: await observe_holdings(connection, role)
                for role, holder in holders.items()
                if name in holder.dependencies.granted_in | holder.dependencies.owner_in
            }
            outside = await observe_outside(connection, shared=False)
            seen = await _look(connection, database, held.values(), managed=managed)
    except DatabaseRefused as refused:
        return replace(database, refused=f"it cannot be looked into: {refused}")
    finally:
        # Nothing more is asked there, and somebody may want to drop it.
        await connections.discard(name)
    for role, holdings in held.items():
        holders[role].held[name] = holdings
    _add_outside(holders, outside, where=f" (database '{name}')")
    return seen


def _add_outside(
    holders: Mapping[str, Holder],
    found: Mapping[str, tuple[str, ...]],
    *,
    where: str = "",
) -> None:
    # A role may have been made since they were listed.
    for role in holders.keys() & found.keys():
        holders[role].outside += [f"{text}{where}" for text in found[role]]


async def _look(
    connection: Connection,
    database: DatabaseInventory,
    held: Iterable[Holdings],
    *,
    managed: Collection[str],
) -> DatabaseInventory:
    name = database.state.name
    schemas = (await observe_catalog(connection)).schemas
    wanted = {
        Securable(kind, name, schema, WILDCARD) for schema in schemas for kind in KINDS
    }
    columns = {
        grant.on
        for holdings in held
        for grant in holdings.grants
        if grant.on.kind == "column"
    }
    catalog = await observe_catalog(connection, wanted=wanted | columns)
    extensions = await observe_extensions(connection)
    asked = [
        Extension(name=one, schema=installed.schema)
        for one, installed in extensions.items()
    ]
    public = await observe_public(connection)
    return replace(
        database,
        state=with_inside(database.state, catalog, extensions),
        objects=catalog.objects,
        creators=await observe_creators(connection, schemas, managed=managed),
        trusted=await observe_trusted(connection, asked),
        unsaid=(
            *database.unsaid,
            *(f"not in here: everybody (PUBLIC) has {text}" for text in public),
        ),
    )


def _say_hidden(database: DatabaseInventory, hidden: Hidden) -> DatabaseInventory:
    names = hidden.get((database.state.name, ""), ())
    said = tuple(say_too_long(name, "") for name in names)
    return replace(database, unsaid=database.unsaid + said)

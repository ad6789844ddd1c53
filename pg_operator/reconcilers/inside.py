"""Looking into a database, which may let nobody in, or only a few."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from pg_operator.api.specs import DatabaseSpec, Permission
from pg_operator.plan.creators import Creators
from pg_operator.plan.permissions import wanted_objects
from pg_operator.plan.state import (
    NOBODY,
    UNSET,
    Catalog,
    DatabaseState,
    Installed,
    Pending,
    RoleState,
)
from pg_operator.postgres.errors import DatabaseFull, DatabaseRefused
from pg_operator.postgres.observe import observe_catalog
from pg_operator.postgres.observe_extensions import observe_extensions
from pg_operator.postgres.observe_privileges import Holdings, observe_holdings
from pg_operator.reconcilers.creators import creators_of, observe_undeclared
from pg_operator.reconcilers.foresight import Foresight
from pg_operator.reconcilers.servers import Link

# An idle connection of ours would be missed where there are fewer.
FEW_CONNECTIONS: Final = 10


@dataclass(frozen=True, slots=True)
class Seen:
    """A database as observed, and why not from inside, if it should have been.

    `is_full` tells that nothing else is the matter than its connection limit.
    """

    state: DatabaseState
    refused: Pending | None = None
    is_full: bool = False


async def spare_connections(link: Link, observed: DatabaseState) -> None:
    """Keep no idle connection to a database that allows only a few."""
    limit = observed.connection_limit
    is_scarce = limit is not UNSET and 0 <= limit < FEW_CONNECTIONS
    await link.connections.spare(observed.name, is_scarce=is_scarce)


async def look_inside(link: Link, observed: DatabaseState, spec: DatabaseSpec) -> Seen:
    """Observe schemas and extensions of a database where the spec declares any."""
    if not (observed.exists and observed.allow_connections is True):
        return Seen(observed)
    if not (spec.schema_names or spec.extensions):
        return Seen(observed)
    try:
        async with link.connections.session(spec.name) as connection:
            catalog = await observe_catalog(connection)
            extensions = await observe_extensions(connection) if spec.extensions else {}
    except DatabaseRefused as refused:
        message = f"{refused}; what is inside is looked at when it can be entered"
        path = "spec.schemas" if spec.schema_names else "spec.extensions"
        pending = Pending(path, refused.reason, message)
        return Seen(observed, pending, is_full=isinstance(refused, DatabaseFull))
    return Seen(with_inside(observed, catalog, extensions))


def with_inside(
    observed: DatabaseState, catalog: Catalog, extensions: Mapping[str, Installed]
) -> DatabaseState:
    """Return a database that was observed from outside, as it is inside, too."""
    return replace(
        observed,
        schemas=catalog.schemas,
        schema_owners=catalog.schema_owners,
        extensions=extensions,
        public_schema_open=catalog.public_schema_open,
    )


@dataclass(frozen=True, slots=True)
class Inside:
    """What a role's permission meets in a database; `creators` are by schema."""

    catalog: Catalog
    holdings: Holdings = field(default_factory=Holdings)
    creators: Mapping[str, frozenset[str]] = field(default_factory=lambda: NOBODY)


async def look_for_role(
    link: Link,
    database: str,
    permission: Permission | None,
    role: RoleState,
    *,
    declared: Mapping[str, frozenset[str]],
    foresight: Foresight,
) -> Inside:
    """Observe what a permission is about, what the role has, and who creates more.

    Raises:
        DatabaseRefused: it lets nobody in.
    """
    catalog, holdings = Catalog(database, frozenset()), Holdings()
    creators: Mapping[str, Creators] = {}
    if not foresight.is_new(link.server, database):
        wanted = frozenset() if permission is None else wanted_objects(permission)
        schemas = () if permission is None else permission.schemas
        async with link.connections.session(database) as connection:
            catalog = await observe_catalog(connection, wanted=wanted)
            if role.exists:
                owned_in = {schema.name for schema in schemas}
                holdings = await observe_holdings(
                    connection, role.name, owned_in=owned_in
                )
            if permission is not None:
                creators = await observe_undeclared(connection, permission, declared)
    catalog = foresight.catalog(link.server, catalog)
    if permission is None:
        return Inside(catalog, holdings)
    creators = {**creators, **foresight.creators(link.server, database)}
    covered = creators_of(
        permission, role=role.name, declared=declared, observed=creators
    )
    return Inside(catalog, holdings, covered)


def closed_by_hand(observed: DatabaseState) -> Pending:
    """Say that nobody can connect, which the operator never undoes."""
    message = (
        "somebody closed the database: nobody can connect, and what is inside is not "
        f"looked at; to open it, run ALTER DATABASE {observed.name} ALLOW_CONNECTIONS "
        "true"
    )
    return Pending("spec.name", "DatabaseClosed", message)

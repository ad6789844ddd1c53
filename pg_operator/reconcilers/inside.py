"""Looking into a database, which may let nobody in, or only a few."""

from dataclasses import dataclass, replace
from typing import Final

from pg_operator.api.specs import DatabaseSpec
from pg_operator.plan.state import UNSET, DatabaseState, Pending
from pg_operator.postgres.errors import DatabaseFull, DatabaseRefused
from pg_operator.postgres.observe import observe_catalog
from pg_operator.postgres.observe_extensions import observe_extensions
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


async def look_inside(link: Link, observed: DatabaseState, spec: DatabaseSpec) -> Seen:
    """Observe schemas and extensions of a database where the spec declares any."""
    limit = observed.connection_limit
    is_scarce = limit is not UNSET and 0 <= limit < FEW_CONNECTIONS
    await link.connections.spare(spec.name, is_scarce=is_scarce)
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
    state = replace(
        observed,
        schemas=catalog.schemas,
        schema_owners=catalog.schema_owners,
        extensions=extensions,
        public_schema_open=catalog.public_schema_open,
    )
    return Seen(state)


def closed_by_hand(observed: DatabaseState) -> Pending:
    """Say that nobody can connect, which the operator never undoes."""
    message = (
        "somebody closed the database: nobody can connect, and what is inside is not "
        f"looked at; to open it, run ALTER DATABASE {observed.name} ALLOW_CONNECTIONS "
        "true"
    )
    return Pending("spec.name", "DatabaseClosed", message)

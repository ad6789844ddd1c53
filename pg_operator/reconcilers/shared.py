"""What shared catalogs say of a role or database: by a survey, or read anew."""

from collections.abc import Collection

from pg_operator.plan.state import DatabaseState
from pg_operator.postgres.observe_databases import observe_databases
from pg_operator.reconcilers.context import Context
from pg_operator.reconcilers.servers import Link
from pg_operator.reconcilers.survey import SharedRole, observe_shared_roles


async def observe_shared_role(context: Context, link: Link, name: str) -> SharedRole:
    """Observe a role from outside: its row, its mark, and where it is entangled."""
    survey = context.survey
    known = None if survey is None else await survey.role(link, name)
    if known is None:
        roles = await observe_shared_roles(link, [name], keyring=context.keyring)
        known = roles[name]
    observed, dependencies = known
    return context.witness.see(link.server, observed), dependencies


async def observe_shared_database(
    context: Context, link: Link, name: str
) -> DatabaseState:
    """Observe a database from outside."""
    states = await observe_shared_databases(context, link, [name])
    return context.witness.see(link.server, states[name])


async def observe_shared_databases(
    context: Context, link: Link, names: Collection[str]
) -> dict[str, DatabaseState]:
    """Observe databases from outside, by whoever's marks."""
    survey = context.survey
    known = {} if survey is None else await survey.databases(link, names)
    if unknown := [name for name in names if name not in known]:
        async with link.connections.session() as connection:
            known |= await observe_databases(
                connection, unknown, keyring=context.keyring
            )
    return {name: known[name] for name in names}

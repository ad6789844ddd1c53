"""Row security policies that name a role: what becomes of them when it is dropped.

DROP OWNED takes the role out of every policy and drops one that names nobody else. A
permissive policy only ever showed rows to the role and its members, so nobody sees more
for it. A restrictive one hides rows from them: without the role its members, who may
have rights of their own, would see what was hidden from them.
"""

from pg_operator.plan.state import Dependencies
from pg_operator.postgres.observe_dependencies import observe_row_security
from pg_operator.reconcilers.outcome import Event
from pg_operator.reconcilers.servers import Link


async def lost_policies(
    link: Link, role: str, dependencies: Dependencies
) -> tuple[tuple[str, ...], tuple[Event, ...]]:
    """Return why a role must not be dropped for now, and what to tell once it is."""
    reasons, events = [], []
    for database in sorted(dependencies.policies_in):
        async with link.connections.session(database) as connection:
            found = await observe_row_security(connection, role)
        if found.loosened:
            reasons.append(
                f"role '{role}' has members, for whom {found.loosened} restrictive row "
                f"security policies in database '{database}' hold because of it, and "
                "they would see more rows without it; name other roles in these "
                "policies or drop them, or end the memberships"
            )
        if found.dropped:
            message = (
                f"Dropped {found.dropped} row security policies in database "
                f"'{database}' that named role '{role}' only"
            )
            events.append(Event("Warning", "PoliciesDropped", message))
    return tuple(reasons), tuple(events)

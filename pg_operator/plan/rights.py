"""What the operator's login must be able to do on a server, and others not. Pure."""

from typing import Final

from pg_operator.plan.state import Server

# From here on a membership's INHERIT and SET are options of their own; before, whether
# it inherits was the member's.
MEMBERSHIP_OPTIONS: Final = 160000
MOST_NAMED: Final = 3


def missing_rights(server: Server, *, max_connections: int) -> tuple[str, ...]:
    """Say what the login lacks for the operator's work, and what to do about it.

    None of it is found out by trying: it is said before any object needs it.
    """
    login = server.login
    alter = f"ALTER ROLE {login}"
    found = (
        (
            server.create_database,
            f"it lacks CREATEDB, so Databases cannot be created: {alter} CREATEDB",
        ),
        (
            server.create_role,
            (
                f"it lacks CREATEROLE, so DatabaseRoles cannot be created: {alter} "
                "CREATEROLE"
            ),
        ),
        (
            server.inherits or server.version_number >= MEMBERSHIP_OPTIONS,
            (
                "it is NOINHERIT, so it can grant nothing on what the roles it creates "
                f"own: {alter} INHERIT"
            ),
        ),
        (
            server.set_passwords,
            (
                "rds.restrict_password_commands is on, so it can set no password: "
                f"GRANT rds_password TO {login}"
            ),
        ),
    )
    missing = [
        sentence for is_there, sentence in found if not (is_there or server.superuser)
    ]
    if 0 <= server.connection_limit < max_connections:
        missing.append(
            f"its CONNECTION LIMIT is {server.connection_limit}, below "
            f"spec.maxConnections {max_connections}: raise the one or lower the other"
        )
    return tuple(missing)


def open_door(server: Server, *, database: str) -> str:
    """Warn of who may keep the operator waiting, by locks that it takes as well.

    `database` is the DSN's own, where the operator works on roles and databases.
    Nothing is said when nobody may connect to it but owner, login and superusers.
    """
    if not server.visitors:
        return ""
    named = ", ".join(server.visitors[:MOST_NAMED])
    more = len(server.visitors) - MOST_NAMED
    everybody = f"{named} and {more} more" if more > 0 else named
    remedy = f"REVOKE CONNECT ON DATABASE {database} FROM {server.visitors[0]}"
    return (
        f"{everybody} may connect to its database '{database}' and so hold locks there "
        f"that the operator waits for: {remedy}, unless they are to be trusted"
    )

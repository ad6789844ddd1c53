"""Takes back what other roles granted: only the grantor can, or who becomes it."""

import psycopg
from psycopg import sql

from pg_operator.plan.grants import Grants
from pg_operator.plan.privileges import revoke_statements
from pg_operator.postgres.connection import Connection
from pg_operator.postgres.errors import Rejected
from pg_operator.postgres.observe_privileges import Holdings
from pg_operator.postgres.quote import quote_role
from pg_operator.postgres.render_privileges import render_privileges
from pg_operator.postgres.translate import translate


async def revoke_as_grantors(
    connection: Connection, role: str, left: Grants, holdings: Holdings
) -> None:
    """Revoke what is left of a role's grants as each grantor that we may become.

    In the transaction that is open; what cannot be done is left as it is.
    """
    for grantor, granted in sorted(holdings.granted_by.items()):
        for operation in revoke_statements(role, left & granted):
            try:
                statement = render_privileges(operation)
                async with connection.transaction():
                    await connection.execute(
                        sql.SQL("SET LOCAL ROLE {}").format(quote_role(grantor))
                    )
                    await connection.execute(statement)
                    await connection.execute("SET LOCAL ROLE NONE")
            except (psycopg.errors.InsufficientPrivilege, Rejected):
                continue
            except psycopg.Error as error:
                raise translate(error) from None

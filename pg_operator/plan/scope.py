"""Sets of grants in which `*` stands for every table of a schema. Pure.

A role's mark records such a set, its *scope*: what the operator may have granted. Only
what a scope covers is ever revoked.
"""

from pg_operator.api.specs import WILDCARD
from pg_operator.plan.state import Grants


def covered(grants: Grants, scope: Grants) -> Grants:
    """Return those of the grants that a scope has, by name or by a wildcard."""
    wildcards = {
        (grant.on.database, grant.on.schema, grant.privilege)
        for grant in scope
        if grant.on.table == WILDCARD
    }
    return frozenset(
        grant
        for grant in grants
        if grant in scope
        or (
            grant.on.kind == "table"
            and (grant.on.database, grant.on.schema, grant.privilege) in wildcards
        )
    )


def databases(scope: Grants) -> frozenset[str]:
    """Return the databases that a scope reaches into."""
    return frozenset(grant.on.database for grant in scope)


def hold(
    scope: Grants, *, database: str, schema: str | None = None, table: str | None = None
) -> Grants:
    """Return what a recorded scope has under one path of `permissions`.

    Kept in the desired scope, it is neither granted nor revoked: for a part of a spec
    that cannot be worked on now.
    """
    return frozenset(
        grant
        for grant in scope
        if grant.on.database == database
        and schema in {None, grant.on.schema}
        and table in {None, grant.on.table}
    )

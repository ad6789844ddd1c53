"""Sets of grants in which `*` stands for every object of its kind in a schema. Pure.

A role's mark records such a set, its *scope*: what the operator may have granted. Only
what a scope covers is ever revoked.
"""

from dataclasses import replace

from pg_operator.api.privileges import ObjectKind
from pg_operator.api.specs import WILDCARD
from pg_operator.plan.state import Grant, Grants


def covered(grants: Grants, scope: Grants) -> Grants:
    """Return those of the grants that a scope has, by name or by a wildcard."""
    return frozenset(
        grant for grant in grants if grant in scope or _all_of_its_kind(grant) in scope
    )


def databases(scope: Grants) -> frozenset[str]:
    """Return the databases that a scope reaches into."""
    return frozenset(grant.on.database for grant in scope)


def hold(
    scope: Grants,
    *,
    database: str,
    schema: str | None = None,
    kind: ObjectKind | None = None,
    name: str | None = None,
    column: str | None = None,
) -> Grants:
    """Return what a recorded scope has under one path of `permissions`.

    Kept in the desired scope, it is neither granted nor revoked: for a part of a spec
    that cannot be worked on now. Under a table are its columns, too.
    """
    kinds = {kind, "column"} if kind == "table" else {kind}
    return frozenset(
        grant
        for grant in scope
        if grant.on.database == database
        and schema in {None, grant.on.schema}
        and (kind is None or grant.on.kind in kinds)
        and name in {None, grant.on.name}
        and column in {None, grant.on.column}
    )


def _all_of_its_kind(grant: Grant) -> Grant:
    """Return the wildcard that a grant falls under; a column falls under none."""
    return replace(grant, on=replace(grant.on, name=WILDCARD))

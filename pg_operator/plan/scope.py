"""Sets of grants in which `*` stands for every object of its kind in a schema. Pure.

A role's mark records such a set, its *scope*: what the operator may have granted. Only
what a scope covers is ever revoked.
"""

from dataclasses import replace

from pg_operator.api.privileges import ObjectKind
from pg_operator.api.specs import WILDCARD
from pg_operator.plan.grants import Grant, Grants
from pg_operator.plan.state import Mark, RoleState


def covered(grants: Grants, scope: Grants) -> Grants:
    """Return those of the grants that a scope has, by name or by a wildcard.

    What a wildcard leaves out counts: it may have been granted as it was created.
    """
    wildcards = _exceptions(scope)
    return frozenset(
        grant
        for grant in grants
        if grant in scope or _all_of_its_kind(grant) in wildcards
    )


def declared(grants: Grants, scope: Grants) -> Grants:
    """Return those of the grants that a scope wants to be there."""
    wildcards = _exceptions(scope)

    def wants(grant: Grant) -> bool:
        left_out = wildcards.get(_all_of_its_kind(grant))
        return left_out is not None and grant.on.name not in left_out

    return frozenset(grant for grant in grants if grant in scope or wants(grant))


def _exceptions(scope: Grants) -> dict[tuple[object, ...], frozenset[str]]:
    """Return the wildcards of a scope, each with the names that it leaves out."""
    found: dict[tuple[object, ...], frozenset[str]] = {}
    for grant in scope:
        if grant.on.name == WILDCARD:
            kind, left_out = _all_of_its_kind(grant), frozenset(grant.on.without)
            found[kind] = found.get(kind, left_out) & left_out
    return found


def claim_everything(observed: RoleState, scope: Grants) -> RoleState:
    """Return a role as if all that it holds beyond a scope had been recorded as ours.

    So it is revoked: for a role that shall hold nothing else.
    """
    mark = observed.mark
    if not isinstance(mark, Mark):
        return observed
    others = observed.grants - declared(observed.grants, scope)
    return replace(observed, mark=replace(mark, scope=mark.scope | others))


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


def _all_of_its_kind(grant: Grant) -> tuple[object, ...]:
    """Return what a grant has in common with the wildcard that it falls under.

    That is everything but the name; a column falls under none.
    """
    on, privilege, grantable = grant
    kind, database, schema, _, column, creator, _ = on
    return kind, database, schema, column, creator, privilege, grantable

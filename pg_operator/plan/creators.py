"""Whose future objects a permission on `*` covers. Pure."""

from collections.abc import Collection

from pg_operator.plan.state import UNSET, Unset


def effective_creators(
    declared: Collection[str],
    *,
    usable: Collection[str],
    database_owner: str | Unset = UNSET,
    schema_owner: str | Unset = UNSET,
    writers: Collection[str] = (),
) -> frozenset[str]:
    """Return the roles that create objects in a schema.

    Args:
        declared: `creators` of the schema in the Database's spec.
        usable: Those of the declared that the Database may name now.
        database_owner: The owner of the database, as observed.
        schema_owner: The owner of the schema, as observed.
        writers: The managed roles that have CREATE on the schema.

    """
    if declared:
        return frozenset(declared) & frozenset(usable)
    owners = (database_owner, schema_owner)
    return frozenset(writers) | {owner for owner in owners if owner is not UNSET}

"""Whose future objects a permission on `*` covers. Pure."""

from collections.abc import Collection
from dataclasses import dataclass

from pg_operator.plan.state import UNSET, Unset


@dataclass(frozen=True, slots=True)
class Creators:
    """Who creates objects in a schema, as observed.

    `writers` are the managed roles that have CREATE on it.
    """

    database_owner: str | Unset = UNSET
    schema_owner: str | Unset = UNSET
    writers: frozenset[str] = frozenset()

    @property
    def everyone(self) -> frozenset[str]:
        """All of them."""
        owners = (self.database_owner, self.schema_owner)
        return self.writers | {owner for owner in owners if owner is not UNSET}


def effective_creators(
    declared: Collection[str] | None, observed: Creators, *, role: str
) -> frozenset[str]:
    """Return the creators whose future objects in a schema `*` covers for a role.

    The role itself is left out: it will own what it creates.

    Args:
        declared: Those of the Database's `creators` that it may name now; None when it
            declares none.
        observed: Who creates in the schema when nobody is declared.
        role: The role.

    """
    creators = observed.everyone if declared is None else frozenset(declared)
    return creators - {role}

"""What roles hold, collected from a whole server, and what of it no object can say."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from pg_operator.plan.export import RoleInventory
from pg_operator.plan.grants import Grant, Grants, Securable
from pg_operator.plan.privileges import table_of
from pg_operator.plan.state import Dependencies, RoleState
from pg_operator.postgres.observe_privileges import Holdings

MOST_DESCRIBED: Final = 20
BOOTSTRAP: Final = 10  # the OID of who made the cluster (BOOTSTRAP_SUPERUSERID)

# Names of parameters that were not read, by database and role, each "" for all.
Hidden = Mapping[tuple[str, str], tuple[str, ...]]


@dataclass(slots=True)
class Holder:
    """A role while it is being read, database by database.

    `held` is by database, "" for what it holds on databases themselves.
    """

    state: RoleState
    dependencies: Dependencies
    granted_inside: frozenset[str]
    is_alterable: bool
    held: dict[str, Holdings] = field(default_factory=dict)
    outside: list[str] = field(default_factory=list)


def roles_of(
    holders: Mapping[str, Holder], hidden: Hidden
) -> tuple[RoleInventory, ...]:
    """Return the roles with all that they hold."""
    owned = {name: _owned(holder) for name, holder in holders.items()}
    return tuple(
        RoleInventory(
            replace(holder.state, grants=_all_grants(holder)),
            owned=owned[name],
            by_others=_by_others(name, holders, owned),
            is_alterable=holder.is_alterable,
            unsaid=(*_outside(holder), *_hidden_of_role(name, hidden)),
        )
        for name, holder in holders.items()
    )


def _all_grants(holder: Holder) -> Grants:
    return frozenset[Grant]().union(*(held.grants for held in holder.held.values()))


def _owned(holder: Holder) -> frozenset[Securable]:
    databases = {
        Securable("database", name) for name in holder.dependencies.owned_databases
    }
    inside = (held.owned for held in holder.held.values())
    return frozenset(databases).union(*inside)


def _by_others(
    role: str,
    holders: Mapping[str, Holder],
    owned: Mapping[str, frozenset[Securable]],
) -> dict[str, Grants]:
    """Return what was granted by roles that do not own it."""
    found: defaultdict[str, set[Grant]] = defaultdict(set)
    for held in holders[role].held.values():
        for grantor, grants in held.granted_by.items():
            # The bootstrap superuser grants as an owner, and is nowhere listed as one.
            if grantor not in holders or holders[grantor].state.oid == BOOTSTRAP:
                continue
            found[grantor] |= {
                grant
                for grant in grants
                if grant.on not in owned[role]
                and grant.on.creator != grantor
                and _home(grant.on) not in owned[grantor]
            }
    return {name: frozenset(grants) for name, grants in found.items() if grants}


def _home(on: Securable) -> Securable:
    """Return what has an owner: of a column it is the table."""
    return table_of(on) if on.kind == "column" else on


def _outside(holder: Holder) -> list[str]:
    """Say which privileges no permission can speak of; of many the first."""
    elsewhere = holder.granted_inside - holder.held.keys()
    texts = [
        *(f"what is in database '{name}'" for name in sorted(elsewhere)),
        *sorted(holder.outside),
    ]
    said = [
        f"not in here, and left as it is: what it was given on {text}"
        for text in texts[:MOST_DESCRIBED]
    ]
    if len(texts) > MOST_DESCRIBED:
        said.append(f"and on {len(texts) - MOST_DESCRIBED} more such objects")
    return said


def _hidden_of_role(role: str, hidden: Hidden) -> list[str]:
    return [
        say_too_long(name, f" in database '{database}'" if database else "")
        for (database, of_role), names in sorted(hidden.items())
        for name in names
        if of_role == role
    ]


def say_too_long(parameter: str, where: str) -> str:
    """Say that a parameter was not read."""
    return f"not in here: parameter '{parameter}'{where}: its value is too long"

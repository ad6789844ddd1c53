"""Which databases and roles of a server can become objects at all. Pure."""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, TypeVar

from pg_operator.api.names import (
    RESERVED,
    CreatedKind,
    created_name_problem,
)
from pg_operator.api.validation.adoption import MOST_ADOPTABLE
from pg_operator.plan.deletion import INTERRUPTED_DROP
from pg_operator.plan.export.documents import shown
from pg_operator.plan.export.inventory import (
    Choices,
    DatabaseInventory,
    Inventory,
    RoleInventory,
)
from pg_operator.plan.state import UnverifiedMark

# What providers make for themselves, as far as `RESERVED` does not have it.
PROVIDERS: Final = frozenset(
    {
        "alloydbsuperuser",
        "azure_pg_admin",
        "azuresu",
        "cloudsqlagent",
        "cloudsqlconnpooladmin",
        "cloudsqliamgroup",
        "cloudsqliamserviceaccount",
        "cloudsqliamuser",
        "cloudsqlimportexport",
        "cloudsqlobservability",
        "cloudsqlreplica",
        "cloudsqlsuperuser",
        "rds_ad",
        "rds_extension",
        "rds_iam",
        "rds_password",
        "rds_replication",
        "rds_reserved",
        "rds_superuser",
        "rdsrepladmin",
        "rdstopmgr",
    }
)

Thing = TypeVar("Thing", DatabaseInventory, RoleInventory)


@dataclass(frozen=True, slots=True)
class Selection:
    """What becomes objects, in the order of names, and why the rest does not."""

    databases: tuple[DatabaseInventory, ...]
    roles: tuple[RoleInventory, ...]
    left_out: tuple[str, ...]

    @property
    def role_names(self) -> frozenset[str]:
        """The roles that become DatabaseRoles."""
        return frozenset(role.state.name for role in self.roles)

    @property
    def database_names(self) -> frozenset[str]:
        """The databases that become Databases."""
        return frozenset(database.state.name for database in self.databases)


def select(inventory: Inventory, choices: Choices) -> Selection:
    """Choose what can be taken over, and is to be."""
    wanted = {
        "database": choices.databases,
        "role": choices.roles,
    }
    left_out = [
        f"{kind} {shown(name)}: there is none"
        for kind, names in wanted.items()
        for name in sorted((names or frozenset()) - _names(inventory, kind))
    ]
    roles, refused = _divide(
        "role",
        inventory.roles,
        only=choices.roles,
        problem=lambda role: _role_problem(role, inventory),
    )
    left_out += refused
    managed = {role.state.name for role in roles}
    databases, refused = _divide(
        "database",
        inventory.databases,
        only=choices.databases,
        problem=lambda one: _database_problem(one, inventory, managed=managed),
    )
    return Selection(tuple(databases), tuple(roles), (*left_out, *refused))


def _names(inventory: Inventory, kind: str) -> frozenset[str]:
    things = inventory.databases if kind == "database" else inventory.roles
    return frozenset(thing.state.name for thing in things)


def _divide(
    kind: CreatedKind,
    things: Iterable[Thing],
    *,
    only: frozenset[str] | None,
    problem: Callable[[Thing], str | None],
) -> tuple[list[Thing], list[str]]:
    chosen: list[Thing] = []
    left_out: list[str] = []
    for thing in sorted(things, key=lambda thing: thing.state.name):
        name = thing.state.name
        if only is not None and name not in only:
            continue
        why = problem(thing)
        if why is None and len(chosen) == MOST_ADOPTABLE:
            why = (
                f"one DatabaseCluster lists {MOST_ADOPTABLE} at most; export again "
                "when the first are taken over"
            )
        if why is None:
            chosen.append(thing)
        else:
            left_out.append(f"{kind} {shown(name)}: {why}")
    return chosen, left_out


def _role_problem(role: RoleInventory, inventory: Inventory) -> str | None:
    name = role.state.name
    if name in inventory.logins:
        return "it is the operator's own login, which is never managed"
    if role.state.superuser is True:
        return "it is a superuser, which is never managed"
    if name in PROVIDERS:
        return "it is the provider's own, which is never managed"
    login = inventory.server.login
    unalterable = (
        f"the login may not alter it; run GRANT {shown(name)} TO {shown(login)} WITH "
        "ADMIN OPTION as a superuser or as who made it"
    )
    return next(_problems("role", role, unalterable), None)


def _database_problem(
    database: DatabaseInventory, inventory: Inventory, *, managed: Collection[object]
) -> str | None:
    state = database.state
    if state.name == inventory.maintenance_database:
        return "it is the DSN's own database, which is never managed"
    # The login becomes a member of the roles that are taken over.
    if state.owner in managed:
        unalterable = ""
    else:
        unalterable = f"the login is no member of its owner, '{state.owner}'"
    why = next(_problems("database", database, unalterable), None)
    if why is not None:
        return why
    if state.connection_limit == INTERRUPTED_DROP:
        return "it is invalid: its DROP DATABASE was interrupted; drop it"
    if state.allow_connections is False:
        return "it lets nobody in; ALLOW_CONNECTIONS must be true"
    return database.refused or None


def _problems(kind: CreatedKind, thing: Thing, unalterable: str) -> Iterator[str]:
    name = thing.state.name
    if name in RESERVED[kind]:
        yield "the name is reserved, and never managed"
    if isinstance(thing.state.mark, UnverifiedMark):
        yield "it carries a mark of pg-operator, and so is managed already"
    problem = created_name_problem(kind, name)
    if problem is not None:
        yield f"its name is refused: {problem.detail}"
    if not thing.is_alterable and unalterable:
        yield unalterable

"""A role that is there as the DatabaseRole that takes it over. Pure."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pg_operator.api.specs import Permission
from pg_operator.api.validation.permissions import MOST_PERMISSIONS
from pg_operator.api.values import INFINITY
from pg_operator.plan.diff import UNLIMITED
from pg_operator.plan.export.documents import ExportedObject, build, shown
from pg_operator.plan.export.inventory import Choices, Inventory, RoleInventory
from pg_operator.plan.export.memberships import export_memberships
from pg_operator.plan.export.parameters import fit_parameters
from pg_operator.plan.export.permissions import (
    OpenDatabase,
    export_permission,
    not_granted,
)
from pg_operator.plan.grants import Grants
from pg_operator.plan.permissions import desired_grants
from pg_operator.plan.privileges import privilege_changes
from pg_operator.plan.state import Catalog, RoleState

PASSWORDS: Final = (
    "its password is not in here and stays as it is; with `password` or "
    "`generatePassword` it is set anew"
)
MOST_LISTED: Final = 20


@dataclass(frozen=True, slots=True)
class RoleExport:
    """The DatabaseRole of a role, and the groups that its DatabaseCluster must list."""

    exported: ExportedObject
    listed_groups: frozenset[str]


def export_role(
    role: RoleInventory,
    *,
    name: str,
    inventory: Inventory,
    choices: Choices,
    roles: Collection[str],
    databases: Sequence[OpenDatabase],
) -> RoleExport:
    """Return the DatabaseRole of a role that can be taken over.

    Args:
        role: What it is like.
        name: What the object is called.
        inventory: The server.
        choices: What the other objects are called.
        roles: The roles that become DatabaseRoles.
        databases: Those that become Databases.

    """
    state = role.state
    memberships = export_memberships(state, inventory=inventory, roles=roles)
    parameters, unfit = fit_parameters(_parameters(state).pop("", {}))
    permissions, unfit_inside = _permissions(role, databases)
    spec: dict[str, Any] = {
        "roleName": state.name,
        "databaseClusterRef": {"name": choices.cluster},
        "login": state.login is True,
        "inherit": False if state.inherit is False else None,
        "attributes": sorted(state.attributes),
        "connectionLimit": (
            None if state.connection_limit == UNLIMITED else state.connection_limit
        ),
        "validUntil": None if state.valid_until == INFINITY else state.valid_until,
        "parameters": parameters,
        "memberOf": list(memberships.entries),
        "permissions": permissions,
        "adopt": True,
    }
    remarks = [
        *([PASSWORDS] if state.login is True else []),
        *_self_membership(state, inventory),
        *role.unsaid,
        *memberships.remarks,
        *unfit,
        *unfit_inside,
    ]
    exported = build(
        "DatabaseRole", name, spec, remarks=remarks, namespace=choices.namespace
    )
    said = _said(exported, databases, inventory.server.version_number, state.name)
    more = (*_unsaid(role, said, databases), *_by_others(role, said))
    exported = ExportedObject(exported.document, (*exported.remarks, *more))
    return RoleExport(exported, memberships.listed)


def _permissions(
    role: RoleInventory, databases: Sequence[OpenDatabase]
) -> tuple[list[dict[str, Any]], list[str]]:
    parameters = _parameters(role.state)
    parameters.pop("", None)
    entries: list[dict[str, Any]] = []
    remarks: list[str] = []
    for database in databases:
        where = f" in database {shown(database.name)}"
        fit, unfit = fit_parameters(parameters.pop(database.name, {}), where=where)
        remarks += unfit
        entry = export_permission(role, database)
        if fit:
            entry = {"database": database.name, **entry, "parameters": fit}
        if entry and len(entries) < MOST_PERMISSIONS:
            entries.append(entry)
        elif fit:
            remarks.append(f"not in here: {len(fit)} parameters{where}: {_FULL}")
    remarks += [
        f"not in here: {len(settings)} parameters in database {shown(name)}, "
        f"{_NO_DATABASE}"
        for name, settings in sorted(parameters.items())
    ]
    return entries, remarks


_FULL: Final = f"a DatabaseRole lists {MOST_PERMISSIONS} databases at most"
_NO_DATABASE: Final = "which no Database in here is"


def _parameters(state: RoleState) -> dict[str, dict[str, str]]:
    """Return the parameters by database, those of all under ""."""
    found: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for parameter, value in state.parameters.items():
        found[parameter.database][parameter.name] = value
    return dict(found)


def _said(
    exported: ExportedObject,
    databases: Sequence[OpenDatabase],
    server_version: int,
    role: str,
) -> Grants:
    """Return what the object will want granted, by the rules of its reconciler."""
    by_name = {database.name: database for database in databases}
    said: Grants = frozenset()
    for written in exported.spec.get("permissions", ()):
        database = by_name[written["database"]]
        permission = Permission.parse(written)
        state = database.inventory.state
        grants, _ = desired_grants(
            permission,
            catalog=Catalog(database.name, state.schemas, database.inventory.objects),
            server_version=server_version,
            creators={
                schema.name: database.creators(schema.name, role=role)
                for schema in permission.schemas
            },
        )
        said |= grants
    return said


def _unsaid(
    role: RoleInventory, said: Grants, databases: Sequence[OpenDatabase]
) -> Iterator[str]:
    """Say what was granted and is not in the object, each kind with its reason."""
    by_name = {database.name: database for database in databases}
    reasons: defaultdict[str, set[Any]] = defaultdict(set)
    for grant in not_granted(role, said):
        on = grant.on
        database = by_name.get(on.database)
        if database is None:
            why = _NO_DATABASE
        elif on.schema and on.schema not in database.schemas:
            why = "the Database does not list the schema"
        elif on.creator and not on.schema:
            why = "`*` is of one schema, and this of all"
        elif on.creator:
            why = (
                "`*` would need the same for every object that exists and for all "
                "creators of the schema"
            )
        else:
            why = "it cannot be named, or the lists would be too long"
        reasons[why].add(grant)
    for why, grants in sorted(reasons.items()):
        for text in _described(role.state.name, frozenset(grants)):
            yield f"not in here, and left as it is: {text}: {why}"


def _by_others(role: RoleInventory, said: Grants) -> Iterator[str]:
    """Say what others than the owner granted; a new grant would not be theirs."""
    for grantor, grants in sorted(role.by_others.items()):
        for text in _described(role.state.name, grants & said):
            yield (
                f"granted by {shown(grantor)}, who is not the owner: {text}; it is "
                "revoked as that role, or stays where the login may not become it"
            )


def _described(role: str, grants: Grants) -> list[str]:
    nothing: Grants = frozenset()
    changes = privilege_changes(
        role, desired=grants, held=nothing, recorded=nothing, scope=nothing
    )
    texts = [str(one).removeprefix("grant ") for one in changes.grants]
    if len(texts) > MOST_LISTED:
        more = f"and {len(texts) - MOST_LISTED} more of the kind"
        return [*texts[:MOST_LISTED], more]
    return texts


def _self_membership(state: RoleState, inventory: Inventory) -> list[str]:
    if inventory.server.superuser or state.self_member is True:
        return []
    login = shown(inventory.server.login)
    return [f"the login {login} makes itself a member, to act for what the role owns"]

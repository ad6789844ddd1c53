"""A database that is there as the Database that takes it over. Pure."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pg_operator.api.names import created_name_problem, is_system_schema
from pg_operator.api.validation.database import MOST_SCHEMAS
from pg_operator.api.validation.extensions import MOST_EXTENSIONS
from pg_operator.api.values import locale_problem
from pg_operator.plan.diff import PUBLIC_SCHEMA, UNLIMITED
from pg_operator.plan.export.documents import ExportedObject, build, shown
from pg_operator.plan.export.inventory import Choices, DatabaseInventory, Inventory
from pg_operator.plan.export.parameters import fit_parameters
from pg_operator.plan.state import UNSET, DatabaseState

# What is in every database, and cannot be left out or moved.
ALWAYS_INSTALLED: Final = "plpgsql"
DEFAULT_TABLESPACE: Final = "pg_default"
# Before PostgreSQL 15 CREATE DATABASE has no LOCALE_PROVIDER.
LOCALE_PROVIDERS: Final = 150000
_UNNAMED: Final = "which no DatabaseRole in here is; it stays the owner"


@dataclass(frozen=True, slots=True)
class DatabaseExport:
    """The Database of a database, and what its DatabaseCluster must allow for it."""

    inventory: DatabaseInventory
    exported: ExportedObject
    extensions: frozenset[str]


def export_database(
    database: DatabaseInventory,
    *,
    name: str,
    inventory: Inventory,
    choices: Choices,
    roles: Collection[str],
    creators: Mapping[str, frozenset[str]],
) -> DatabaseExport:
    """Return the Database of a database that can be taken over.

    Args:
        database: What it is like.
        name: What the object is called.
        inventory: The server.
        choices: What the other objects are called.
        roles: The roles that become DatabaseRoles.
        creators: Those to declare, by schema.

    """
    state = database.state
    remarks = list(database.unsaid)
    parameters, unfit = fit_parameters(state.settings)
    remarks += unfit
    schemas = dict(_schemas(state, roles=roles, creators=creators))
    extensions = dict(_extensions(database))
    remarks += _owners(state, schemas, roles)
    remarks += _missing(database, schemas, extensions)
    spec: dict[str, Any] = {
        "name": state.name,
        "databaseClusterRef": {"name": choices.cluster},
        "owner": state.owner if state.owner in roles else None,
        "encoding": _known(state.encoding),
        **_locale(state, inventory.server.version_number),
        "tablespace": _but(state.tablespace, DEFAULT_TABLESPACE),
        "connectionLimit": _but(state.connection_limit, UNLIMITED),
        "parameters": parameters,
        "schemas": list(schemas.values())[:MOST_SCHEMAS],
        "extensions": list(extensions.values())[:MOST_EXTENSIONS],
        "publicPrivileges": "Revoke" if _is_private(state) else "Keep",
        "adopt": True,
    }
    if not _is_private(state):
        remarks.append(_public(state))
    exported = build(
        "Database", name, spec, remarks=remarks, namespace=choices.namespace
    )
    listed = {one["name"] for one in exported.spec.get("extensions", ())}
    untrusted = {one for one in listed if not database.trusted[one]}
    return DatabaseExport(database, exported, frozenset(untrusted))


def _schemas(
    state: DatabaseState,
    *,
    roles: Collection[str],
    creators: Mapping[str, frozenset[str]],
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what is to be listed; every database has schema public anyway."""
    for schema in sorted(state.schemas):
        entry: dict[str, Any] = {"name": schema}
        owner = state.schema_owners.get(schema)
        if owner in roles:
            entry["owner"] = owner
        if schema in creators:
            entry["creators"] = sorted(creators[schema])
        says_more = len(entry) > 1
        if created_name_problem("schema", schema) is None and (
            schema != PUBLIC_SCHEMA or says_more
        ):
            yield schema, entry


def _extensions(
    database: DatabaseInventory,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield those that could be made anew, without pinning their versions."""
    for name, installed in sorted(database.state.extensions.items()):
        if name in database.trusted and not is_system_schema(installed.schema):
            yield name, {"name": name, "schema": installed.schema}


def _missing(
    database: DatabaseInventory,
    schemas: Collection[str],
    extensions: Collection[str],
) -> Iterator[str]:
    """Say which schemas and extensions are not listed."""
    state = database.state
    listed = set(list(schemas)[:MOST_SCHEMAS]) | {PUBLIC_SCHEMA}
    for schema in sorted(state.schemas - listed):
        problem = created_name_problem("schema", schema)
        why = f"a Database lists {MOST_SCHEMAS} at most"
        if problem is not None:
            why = f"its name is refused: {problem.detail}"
        yield f"not in here: schema {shown(schema)} and privileges in it: {why}"
    listed = {*list(extensions)[:MOST_EXTENSIONS], ALWAYS_INSTALLED}
    for name, installed in sorted(state.extensions.items()):
        if name in listed:
            continue
        why = f"a Database lists {MOST_EXTENSIONS} at most"
        if name not in database.trusted:
            why = "the server does not have its files any more"
        elif is_system_schema(installed.schema):
            why = f"it is in schema {shown(installed.schema)} of PostgreSQL's own"
        yield f"not in here: extension {shown(name)}: {why}"


def _owners(
    state: DatabaseState,
    schemas: Mapping[str, Mapping[str, Any]],
    roles: Collection[str],
) -> Iterator[str]:
    """Say which owners stay without being named."""
    if state.owner is not UNSET and state.owner not in roles:
        yield f"not in here: its owner, {shown(state.owner)}, {_UNNAMED}"
    by_owner: dict[str, list[str]] = {}
    for schema in sorted(schemas):
        owner = state.schema_owners.get(schema, "")
        if owner not in roles and schema != PUBLIC_SCHEMA:
            by_owner.setdefault(owner, []).append(shown(schema))
    for owner, names in sorted(by_owner.items()):
        what = "schema" if len(names) == 1 else "schemas"
        yield (
            f"not in here: the owner of {what} {', '.join(names)}, {shown(owner)}, "
            f"{_UNNAMED}"
        )


def _locale(state: DatabaseState, server_version: int) -> dict[str, Any]:
    if state.locale is UNSET or state.locale.name is None:
        return {}
    if locale_problem(state.locale.name) is not None:
        return {"localeProvider": None, "locale": state.locale.name}
    provider = state.locale.provider if server_version >= LOCALE_PROVIDERS else None
    return {"localeProvider": provider, "locale": state.locale.name}


def _is_private(state: DatabaseState) -> bool:
    """Tell whether PUBLIC has nothing that `Revoke` might take."""
    is_open = state.public_schema_open is True
    return state.public_privileges == frozenset() and not is_open


def _public(state: DatabaseState) -> str:
    held = state.public_privileges
    has = [f"{word} on the database" for word in sorted(() if held is UNSET else held)]
    if state.public_schema_open is True:
        has.append(f"CREATE on schema {PUBLIC_SCHEMA}")
    return f"everybody (PUBLIC) keeps {', '.join(has)}"


def _known(value: object) -> object:
    return None if value is UNSET else value


def _but(value: object, default: object) -> object:
    """Return a value that is known and not what holds anyway."""
    return None if value is UNSET or value == default else value

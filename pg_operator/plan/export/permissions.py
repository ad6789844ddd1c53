"""What a role holds in a database as the `permissions` that grant it. Pure.

The inverse of `plan.permissions`, which has the last word: what its reading of the
result does not grant is said beside the object.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from pg_operator.api.privileges import PRIVILEGES, ObjectKind
from pg_operator.api.specs import WILDCARD
from pg_operator.api.validation.permissions import (
    MOST_COLUMNS,
    MOST_FUNCTIONS,
    MOST_SCHEMAS,
    MOST_SEQUENCES,
    MOST_TABLES,
    MOST_TYPES,
)
from pg_operator.plan.creators import Creators, effective_creators
from pg_operator.plan.export.inventory import DatabaseInventory, RoleInventory
from pg_operator.plan.export.wildcards import (
    NONE,
    KindHeld,
    Word,
    Words,
    grants_by_schema,
    held_on,
)
from pg_operator.plan.grants import Grant, Grants, Securable
from pg_operator.plan.permissions import LISTS
from pg_operator.plan.state import NOBODY

_MOST: Final[Mapping[ObjectKind, int]] = {
    "table": MOST_TABLES,
    "sequence": MOST_SEQUENCES,
    "function": MOST_FUNCTIONS,
    "type": MOST_TYPES,
}
_NOBODY_CREATES: Final = Creators()
_NOTHING: Final[Mapping[str, Collection[Securable]]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class OpenDatabase:
    """A database that roles are granted in, as its Database opens it.

    `schemas` are those that permissions may be on, and `declared` the creators of
    those that declare any. `objects` are all that there is, by schema.
    """

    inventory: DatabaseInventory
    schemas: frozenset[str]
    declared: Mapping[str, frozenset[str]] = field(default_factory=lambda: NOBODY)
    objects: Mapping[str, Collection[Securable]] = field(
        default_factory=lambda: _NOTHING
    )

    @property
    def name(self) -> str:
        """The database's name."""
        return self.inventory.state.name

    def creators(self, schema: str, *, role: str) -> frozenset[str]:
        """Return whose future objects in a schema `*` covers for a role."""
        undeclared = self.inventory.creators.get(schema, _NOBODY_CREATES)
        return effective_creators(self.declared.get(schema), undeclared, role=role)


def export_permission(role: RoleInventory, database: OpenDatabase) -> dict[str, Any]:
    """Return the entry of `permissions` for a database; empty when there is none.

    Lists that would be too long are left out.
    """
    name = database.name
    grants = grants_by_schema(role.state.grants, name)
    on_database = [
        grant for grant in role.state.grants if grant.on == Securable("database", name)
    ]
    schemas = [
        _schema(role, database, schema, grants[schema])
        for schema in sorted(database.schemas & grants.keys())
    ]
    return _filled(
        {
            "database": name,
            **_words("database", _granted(on_database, role).values()),
            "schemas": [schema for schema in schemas if schema][:MOST_SCHEMAS],
        }
    )


def _schema(
    role: RoleInventory, database: OpenDatabase, schema: str, grants: Collection[Grant]
) -> dict[str, Any]:
    granted = _granted(grants, role)
    itself = Securable("schema", database.name, schema)
    written: dict[str, Any] = {
        "name": schema,
        **_words("schema", [granted.get(itself, NONE)]),
    }
    creators = database.creators(schema, role=role.state.name)
    for held in held_on(grants, database.objects.get(schema, ())):
        kind = held.kind
        everything = held.for_all(creators)
        entries = dict(_entries(held, everything, owned=role.owned))
        if kind == "table":
            _add_columns(entries, granted)
        if everything:
            entries[WILDCARD] = {"name": WILDCARD, **_words(kind, [everything])}
        if len(entries) > _MOST[kind]:
            continue
        written[LISTS[kind]] = [entry for _, entry in sorted(entries.items())]
        if kind == "table":
            left_out = held.exceptions(everything)
            written["exceptTables"] = [on.name for on in left_out]
    return _filled(written)


def _entries(
    held: KindHeld, everything: Words, *, owned: Collection[Securable]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name the objects on which a role holds other words than on all."""
    for on, words in sorted(held.existing.items()):
        # A table of this name could not be told from all of them.
        if on in owned or on.name == WILDCARD:
            continue
        beyond = words if everything - words else words - everything
        if beyond:
            yield on.name, {"name": on.name, **_words(held.kind, [beyond])}


def _add_columns(
    tables: dict[str, dict[str, Any]], granted: Mapping[Securable, Words]
) -> None:
    columns: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for on, words in sorted(granted.items()):
        if on.kind == "column" and on.name != WILDCARD:
            entry = {"name": on.column, **_words("column", [words])}
            columns[on.name].append(entry)
    for table, entries in sorted(columns.items()):
        if len(entries) <= MOST_COLUMNS:
            tables.setdefault(table, {"name": table})["columns"] = entries


def _granted(grants: Iterable[Grant], role: RoleInventory) -> dict[Securable, Words]:
    """Return what was granted to a role, and is not its own."""
    held: defaultdict[Securable, set[Word]] = defaultdict(set)
    for grant in grants:
        if grant.on not in role.owned:
            held[grant.on].add((grant.privilege, grant.grantable))
    return {on: frozenset(words) for on, words in held.items()}


def _words(kind: ObjectKind, several: Iterable[Words]) -> dict[str, list[str]]:
    """Write words in the order of the table, as far as it has them."""
    words = NONE.union(*several)
    wanted = {word for word, _ in words}
    passed_on = {word for word, grantable in words if grantable}
    known = [privilege.word for privilege in PRIVILEGES[kind]]
    return _filled(
        {
            "privileges": [word for word in known if word in wanted],
            "grantable": [word for word in known if word in passed_on],
        }
    )


def _filled(entry: dict[str, Any]) -> dict[str, Any]:
    """Leave out empty lists, and everything if nothing but the name is left."""
    left = {key: value for key, value in entry.items() if value}
    return left if left.keys() - {"name", "database"} else {}


def not_granted(role: RoleInventory, said: Grants) -> Grants:
    """Return what a role was granted and no permission says."""
    return frozenset(
        grant for grant in role.state.grants - said if grant.on not in role.owned
    )

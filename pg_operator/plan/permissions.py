"""What permissions come to, in a database as it is. Pure."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pg_operator.api.privileges import ALL, ObjectKind, expand_all
from pg_operator.api.specs import (
    WILDCARD,
    ObjectPermission,
    Permission,
    SchemaPermission,
)
from pg_operator.plan.grants import NO_FUNCTIONS, Grant, Grants, Securable
from pg_operator.plan.state import NOBODY, Catalog, Pending

# Where in a schema of `permissions` objects of a kind are written.
LISTS: Final[dict[ObjectKind, str]] = {
    "table": "tables",
    "sequence": "sequences",
    "function": "functions",
    "type": "types",
}


@dataclass(frozen=True, slots=True)
class _Entry:
    """What one list of words is about: where it stands, and on what object it is."""

    path: str
    on: Securable
    words: tuple[str, ...]
    grantable: tuple[str, ...] = ()

    def expand(self, server_version: int) -> frozenset[tuple[str, bool]]:
        """Return the words, and again those with the grant option; `ALL` as words."""
        return frozenset(
            (word, grantable)
            for grantable, written in ((False, self.words), (True, self.grantable))
            for word in _expand(self.on.kind, written, server_version)
        )


def declared_scope(
    permissions: Iterable[Permission],
    *,
    server_version: int,
    creators: Mapping[str, Collection[str]] = NOBODY,
    functions: Mapping[Securable, Securable] = NO_FUNCTIONS,
) -> Grants:
    """Return what permissions may grant: `ALL` as words, `*` as written.

    Words that the server does not know yet are left out. Schemas and what is in them
    need not exist. `creators` maps schemas to roles whose future objects `*` covers,
    and `functions` those that exist from what is written to what they are called.
    """
    return frozenset(
        Grant(on, word, grantable)
        for permission in permissions
        for entry in _entries(permission)
        for on in {functions.get(entry.on, entry.on)} | _future(entry.on, creators)
        for word, grantable in entry.expand(server_version)
        if word in expand_all(entry.on.kind, server_version)
    )


def desired_grants(
    permission: Permission,
    *,
    catalog: Catalog,
    server_version: int,
    creators: Mapping[str, Collection[str]] = NOBODY,
) -> tuple[Grants, tuple[Pending, ...]]:
    """Return what a permission grants in a database as it is, and what it cannot yet.

    `*` becomes every object that exists, and those that `creators` of the schema will
    create. An object that does not exist, and a word that the server does not know, is
    pending. `catalog` must have what `wanted_objects` lists.
    """
    grants: set[Grant] = set()
    pending: list[Pending] = []
    missing_schemas: set[str] = set()
    for entry in _entries(permission):
        on = entry.on
        known = expand_all(on.kind, server_version)
        words = entry.expand(server_version)
        pending += [
            _unsupported(entry.path, word, server_version)
            for word in sorted({word for word, _ in words} - known)
        ]
        if on.schema and on.schema not in catalog.schemas:
            if on.schema not in missing_schemas:
                missing_schemas.add(on.schema)
                pending.append(_schema_not_found(on))
            continue
        objects = _objects(on, catalog) | _future(on, creators)
        if on.name not in {"", WILDCARD} and not objects:
            pending.append(_object_not_found(entry))
        grants |= {
            Grant(each, word, grantable)
            for each in objects
            for word, grantable in words
            if word in known
        }
    return frozenset(grants), tuple(pending)


def wanted_objects(permission: Permission) -> frozenset[Securable]:
    """Return the objects in schemas that a permission is about, `*` as written."""
    return frozenset(
        entry.on._replace(without=()) for entry in _entries(permission) if entry.on.name
    )


def _objects(on: Securable, catalog: Catalog) -> frozenset[Securable]:
    """Return what there is of an object, or of a wildcard."""
    if on.kind in {"database", "schema"}:
        return frozenset({on})
    if on.name != WILDCARD:
        return catalog.objects & {catalog.functions.get(on, on)}
    return frozenset(
        each
        for each in catalog.objects
        if (each.kind, each.schema) == (on.kind, on.schema)
        and each.name not in on.without
    )


def _future(
    on: Securable, creators: Mapping[str, Collection[str]]
) -> frozenset[Securable]:
    """Return what a wildcard will be when more is created."""
    if on.name != WILDCARD:
        return frozenset()
    return frozenset(
        on._replace(creator=creator, without=())
        for creator in creators.get(on.schema, ())
    )


def _entries(permission: Permission) -> Iterator[_Entry]:
    """Walk a permission; what has no words is no entry."""
    return (entry for entry in _walk(permission) if entry.words)


def _walk(permission: Permission) -> Iterator[_Entry]:
    path = f"spec.permissions[{permission.database}]"
    database = Securable("database", permission.database)
    yield _Entry(path, database, permission.privileges, permission.grantable)
    for schema in permission.schemas:
        under = f"{path}.schemas[{schema.name}]"
        on = Securable("schema", permission.database, schema.name)
        yield _Entry(under, on, schema.privileges, schema.grantable)
        yield from _walk_schema(under, on, schema)


def _walk_schema(
    path: str, schema: Securable, written: SchemaPermission
) -> Iterator[_Entry]:
    for table in written.tables:
        under = f"{path}.tables[{table.name}]"
        on = schema._replace(kind="table", name=table.name)
        if table.name == WILDCARD:
            on = on._replace(without=tuple(sorted(written.except_tables)))
        yield _Entry(under, on, table.privileges, table.grantable)
        for column in table.columns:
            part = on._replace(kind="column", column=column.name)
            yield _Entry(
                f"{under}.columns[{column.name}]",
                part,
                column.privileges,
                column.grantable,
            )
    others: dict[ObjectKind, tuple[ObjectPermission, ...]] = {
        "sequence": written.sequences,
        "function": written.functions,
        "type": written.types,
    }
    for kind, entries in others.items():
        for entry in entries:
            under = f"{path}.{LISTS[kind]}[{entry.name}]"
            on = schema._replace(kind=kind, name=entry.name)
            yield _Entry(under, on, entry.privileges, entry.grantable)


def _expand(
    kind: ObjectKind, written: Collection[str], server_version: int
) -> frozenset[str]:
    return expand_all(kind, server_version) if ALL in written else frozenset(written)


def _unsupported(path: str, word: str, server_version: int) -> Pending:
    message = (
        f"PostgreSQL {server_version // 10000} has no privilege {word} on this kind "
        f"of object; remove the word or upgrade the server"
    )
    return Pending(f"{path}.privileges[{word}]", "PrivilegeNotSupported", message)


def _schema_not_found(on: Securable) -> Pending:
    message = (
        f"schema {on.schema} does not exist in database {on.database}; it is granted "
        f"on when it does"
    )
    path = f"spec.permissions[{on.database}].schemas[{on.schema}]"
    return Pending(path, "SchemaNotFound", message)


# Why an object that is named cannot be granted on.
NOT_FOUND: Final[dict[ObjectKind, str]] = {
    "table": "TableNotFound",
    "column": "ColumnNotFound",
    "sequence": "SequenceNotFound",
    "function": "FunctionNotFound",
    "type": "TypeNotFound",
}


def _object_not_found(entry: _Entry) -> Pending:
    on = entry.on
    if on.kind == "column":
        what = f"column {on.column} does not exist in table {on.name} of"
    else:
        what = f"{on.kind} {on.name} does not exist in"
    message = (
        f"{what} schema {on.schema} of database {on.database}, or belongs to an "
        f"extension; it is granted on when it does"
    )
    return Pending(entry.path, NOT_FOUND[on.kind], message)

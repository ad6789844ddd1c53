"""Building blocks that the tests of plans share."""

from collections.abc import Iterable

from pg_operator.api.privileges import ObjectKind
from pg_operator.api.specs import DatabaseRoleSpec, DatabaseSpec, Permission
from pg_operator.plan.batches import Plan
from pg_operator.plan.grants import Grant, Grants, Securable
from pg_operator.plan.operations import Operation
from pg_operator.plan.state import Claimant, Mark, RoleState, Server

LOGIN = "pgop_admin"
PG18 = 180000
DATABASE = Claimant("owner-id", "Database", "shop", "shop-uid", "orders")
ROLE = Claimant("owner-id", "DatabaseRole", "shop", "shop-uid", "app")


def server(*, version: int = PG18, superuser: bool = False) -> Server:
    return Server(
        version_number=version,
        version=str(version // 10000),
        system_identifier="1",
        started_at="now",
        in_recovery=False,
        login=LOGIN,
        superuser=superuser,
        create_database=True,
        create_role=True,
        signal_backend=False,
    )


def database_spec(**fields: object) -> DatabaseSpec:
    reference = {"databaseClusterRef": {"name": "main"}}
    return DatabaseSpec.parse({"name": "orders", **reference, **fields})


def role_spec(**fields: object) -> DatabaseRoleSpec:
    reference = {"databaseClusterRef": {"name": "main"}}
    return DatabaseRoleSpec.parse({"roleName": "app", **reference, **fields})


def permission(database: str = "orders", **fields: object) -> Permission:
    return Permission.parse({"database": database, **fields})


def on_database(database: str, *words: str) -> Grants:
    return frozenset(Grant(Securable("database", database), word) for word in words)


def on_schema(schema: str, *words: str, database: str = "orders") -> Grants:
    on = Securable("schema", database, schema)
    return frozenset(Grant(on, word) for word in words)


def on_table(
    table: str, *words: str, schema: str = "app", database: str = "orders"
) -> Grants:
    on = Securable("table", database, schema, table)
    return frozenset(Grant(on, word) for word in words)


def on_column(
    table: str,
    column: str,
    *words: str,
    schema: str = "app",
    database: str = "orders",
) -> Grants:
    on = Securable("column", database, schema, table, column)
    return frozenset(Grant(on, word) for word in words)


def on_sequence(
    sequence: str, *words: str, schema: str = "app", database: str = "orders"
) -> Grants:
    on = Securable("sequence", database, schema, sequence)
    return frozenset(Grant(on, word) for word in words)


def on_function(
    signature: str, *words: str, schema: str = "app", database: str = "orders"
) -> Grants:
    on = Securable("function", database, schema, signature)
    return frozenset(Grant(on, word) for word in words)


def on_type(
    name: str, *words: str, schema: str = "app", database: str = "orders"
) -> Grants:
    on = Securable("type", database, schema, name)
    return frozenset(Grant(on, word) for word in words)


def on_future(
    kind: ObjectKind,
    creator: str,
    *words: str,
    schema: str = "app",
    database: str = "orders",
) -> Grants:
    on = Securable(kind, database, schema, "*", creator=creator)
    return frozenset(Grant(on, word) for word in words)


def securables(
    kind: ObjectKind, database: str, names: Iterable[str], schema: str = ""
) -> tuple[Securable, ...]:
    """Return objects of one kind; databases and schemas are named themselves."""
    match kind:
        case "database":
            return tuple(Securable(kind, name) for name in names)
        case "schema":
            return tuple(Securable(kind, database, name) for name in names)
        case _:
            return tuple(Securable(kind, database, schema, name) for name in names)


def everything(database: str, *schemas: str) -> frozenset[Securable]:
    """Return every wildcard there is."""
    kinds: tuple[ObjectKind, ...] = ("table", "sequence", "function", "type")
    return frozenset(
        on
        for schema in schemas
        for kind in kinds
        for on in securables(kind, database, ("*",), schema)
    )


def marked_role(*, grants: Grants = frozenset(), scope: Grants) -> RoleState:
    """Return a role of ours that holds `grants` and was given `scope`."""
    return RoleState(
        "app",
        oid=1,
        login=True,
        superuser=False,
        connection_limit=-1,
        self_member=True,
        grants=grants,
        mark=Mark(ROLE, scope=scope),
    )


def kinds(plan: Plan) -> list[type[Operation]]:
    """Return the types of a plan's operations."""
    return [type(operation) for operation in plan.operations]

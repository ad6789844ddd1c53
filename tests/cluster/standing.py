"""How an item stands on the server: who gets in, and who holds what."""

from collections.abc import Sequence

import psycopg

from tests.cluster.items import IN_DATABASE, IN_SCHEMA, SCHEMA, Item
from tests.cluster.objects import administer, login
from tests.localcluster.cluster import LocalCluster

PUBLIC = "-"  # as regrole shows it

Words = tuple[str, ...]


def is_as_declared(bed: LocalCluster, item: Item) -> bool:
    """Tell whether an item's login works and holds what is declared, and only that."""
    name = item.postgres_name
    try:
        login(bed, user=name, password=item.password, dbname=name).close()
    except psycopg.OperationalError:
        return False
    own, everybodys = held(bed, item, by=name), held(bed, item, by=PUBLIC)
    return own == (IN_DATABASE, IN_SCHEMA) and everybodys == ((), ())


def held(bed: LocalCluster, item: Item, *, by: str) -> tuple[Words, Words]:
    """Return what a grantee itself holds on an item's database and on its schema."""
    ((database, schema),) = administer(
        bed,
        item.postgres_name,
        "SELECT "
        + ", ".join(
            f"ARRAY(SELECT DISTINCT privilege_type FROM {catalog},"
            f" aclexplode(coalesce({acl}, acldefault('{kind}', {owner})))"
            f" WHERE {condition} AND grantee::regrole::text = '{by}' ORDER BY 1)"
            for catalog, kind, acl, owner, condition in (
                ("pg_database", "d", "datacl", "datdba", "datname=current_database()"),
                ("pg_namespace", "n", "nspacl", "nspowner", f"nspname = '{SCHEMA}'"),
            )
        ),
    )
    return tuple(database), tuple(schema)


def databases(bed: LocalCluster, prefix: str) -> set[str]:
    """Return the databases whose name begins with `prefix` and that can be entered."""
    return _names(
        bed,
        "SELECT datname FROM pg_database WHERE datallowconn AND datconnlimit = -1"
        f" AND starts_with(datname, '{prefix}')",
    )


def closed_databases(bed: LocalCluster, prefix: str) -> set[str]:
    """Return those that cannot, or not by everybody at once."""
    return _names(
        bed,
        "SELECT datname FROM pg_database"
        " WHERE NOT (datallowconn AND datconnlimit = -1)"
        f" AND starts_with(datname, '{prefix}')",
    )


def roles(bed: LocalCluster, prefix: str) -> set[str]:
    """Return the roles whose name begins with `prefix`."""
    query = f"SELECT rolname FROM pg_roles WHERE starts_with(rolname, '{prefix}')"
    return _names(bed, query)


def names(items: Sequence[Item]) -> set[str]:
    """Return the names that items have on the server."""
    return {item.postgres_name for item in items}


def _names(bed: LocalCluster, query: str) -> set[str]:
    return {name for (name,) in administer(bed, "postgres", query)}

"""Many roles for the same tables at once, and an application that migrates them."""

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from typing import Final

from psycopg import sql

from tests.cluster.items import SCHEMA, delete_items, wait_ready
from tests.cluster.objects import (
    administer,
    connect_cluster,
    database,
    database_role,
    documents,
    login,
)
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.kubectl import Kubectl
from tests.localcluster.postgres import ADMIN

ROLES: Final = 100
TABLES: Final = tuple(f"t{number}" for number in range(8))
COLLISION: Final = "tuple concurrently updated"


def test_hundred_roles_become_ready_during_migrations_that_all_succeed(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str
) -> None:
    connect_cluster(cluster, kubectl, namespace)
    kubectl.apply(documents(database(namespace, namespace, schema=SCHEMA)))
    kubectl.wait(f"database/{namespace}", "condition=Ready")
    tables = (f"CREATE TABLE {SCHEMA}.{table} (id int)" for table in TABLES)
    administer(cluster, namespace, f"SET ROLE {ADMIN}", *tables)
    logs = (cluster.postgres.log, cluster.logs / "controller.log")
    begun = {log: log.stat().st_size for log in logs}

    roles = [role(namespace, number) for number in range(ROLES)]
    with migrations(cluster, namespace) as done:
        kubectl.run("create", "--filename=-", input=documents(*roles), timeout=120)
        wait_ready(kubectl)

    assert next(done) > 0
    granted = (
        "SELECT count(*) FROM information_schema.role_table_grants"
        f" WHERE grantee LIKE '{namespace}\\_%' AND table_schema = '{SCHEMA}'"
    )
    wanted = sum(len(tables_of(number)) for number in range(ROLES))
    assert administer(cluster, namespace, granted) == [(2 * wanted,)]
    for log, size in begun.items():
        assert COLLISION.encode() not in log.read_bytes()[size:]
    delete_items(kubectl, timeout=60)


def tables_of(number: int) -> tuple[str, ...]:
    """Return the tables of one role, most of which are others' as well."""
    return tuple(t for n, t in enumerate(TABLES) if n % 4 != number % 4)


def role(prefix: str, number: int) -> dict[str, object]:
    """Return a role that may read and write in its tables."""
    tables = [
        {"name": table, "privileges": ["SELECT", "INSERT"]}
        for table in tables_of(number)
    ]
    schema = {"name": SCHEMA, "privileges": ["USAGE"], "tables": tables}
    permission = {"database": prefix, "privileges": ["CONNECT"], "schemas": [schema]}
    return database_role(f"{prefix}-{number}", prefix, permissions=[permission])


@contextmanager
def migrations(cluster: LocalCluster, dbname: str) -> Iterator[Iterator[int]]:
    """Migrate until the block ends, which fails if a migration did; count them."""
    ended, done = threading.Event(), count()

    def migrate() -> None:
        order = random.Random(0)  # noqa: S311  # nothing to guess here
        password = cluster.postgres.superuser_password
        with login(
            cluster, user="postgres", password=password, dbname=dbname
        ) as connection:
            while not ended.is_set():
                with connection.transaction():
                    for table in order.sample(TABLES, 3):
                        for change in ("ADD more int", "DROP more"):
                            statement = f"ALTER TABLE {SCHEMA}.{table} {change}"
                            connection.execute(sql.SQL(statement))
                next(done)

    with ThreadPoolExecutor(max_workers=1) as pool:
        migrating = pool.submit(migrate)
        try:
            yield done
        finally:
            ended.set()
        migrating.result()

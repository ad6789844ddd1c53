"""What is changed by hand on the server or in Kubernetes is put right by the resync."""

from collections import Counter
from collections.abc import Iterator
from functools import partial

import pytest
from psycopg.conninfo import make_conninfo

from tests.cluster.counts import counted_statements, reconciles, wait_idle
from tests.cluster.items import SCHEMA, Item, create_items, make_items, wait_ready
from tests.cluster.objects import (
    administer,
    connect_cluster,
    connect_server,
    database,
    database_cluster,
    database_role,
    documents,
    dsn_secret,
)
from tests.cluster.standing import is_as_declared
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.kubectl import Kubectl
from tests.localcluster.probes import wait_until

PATIENCE = 30
# The resync, every 10 minutes unless a DatabaseCluster says otherwise, is far away.
SWEEP = "--sweep-interval=1s"
SERVICE = "orders-db"


@pytest.fixture
def sweeping(cluster: LocalCluster) -> Iterator[None]:
    """Have a controller that looks servers over every second."""
    usual = cluster.controller
    usual.stop()
    cluster.controller = cluster.add_controller("controller-sweeping", SWEEP)
    try:
        yield
    finally:
        cluster.controller.stop()
        cluster.controller = usual
        usual.start()


@pytest.mark.usefixtures("sweeping")
def test_sweep_puts_right_what_is_seen_from_one_database(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str
) -> None:
    connect_cluster(cluster, kubectl, namespace)
    words = ("locked", "opened", "bare", "gone", "untouched")
    items = {word: Item(f"{namespace}-{word}") for word in words}
    kubectl.apply(
        documents(
            database_role(f"{namespace}-group", namespace, login=False),
            *(
                obj
                for item in items.values()
                for obj in item.objects(
                    namespace, login=True, memberOf=[{"role": f"{namespace}_group"}]
                )
            ),
        )
    )
    wait_ready(kubectl)
    name = {word: item.postgres_name for word, item in items.items()}
    with counted_statements(cluster) as quiet:
        seen = sweeps(cluster)
        assert wait_until(lambda: sweeps(cluster) > seen + 1, timeout=PATIENCE)
    assert (quiet.written, quiet.transaction_ids) == ({}, 0)

    administer(
        cluster,
        "postgres",
        "SET ROLE pgop_admin",
        f"ALTER ROLE {name['locked']} NOLOGIN",
        f"GRANT CONNECT ON DATABASE {name['opened']} TO PUBLIC",
        f"REVOKE {namespace}_group FROM {name['opened']}",
    )
    administer(cluster, name["bare"], f"DROP SCHEMA {SCHEMA}")
    forget = (f"DROP OWNED BY {name['gone']}", f"DROP ROLE {name['gone']}")
    administer(cluster, name["gone"], *forget)

    def members() -> list[str]:
        query = (
            "SELECT member::regrole::text FROM pg_auth_members"
            f" WHERE roleid = '{namespace}_group'::regrole ORDER BY 1"
        )
        return [member for (member,) in administer(cluster, "postgres", query)]

    for item in items.values():
        repaired = partial(is_as_declared, cluster, item)
        assert wait_until(repaired, timeout=PATIENCE), item.name
    assert wait_until(lambda: set(name.values()) <= set(members()), timeout=PATIENCE), (
        members()
    )


def sweeps(cluster: LocalCluster) -> int:
    """Count the sweeps of all servers since statistics were reset."""
    query = (
        "SELECT coalesce(sum(calls), 0) FROM pg_stat_statements"
        " WHERE query LIKE 'SELECT%pg_auth_members%UNION ALL%pg_database%'"
    )
    ((calls,),) = administer(cluster, "postgres", query)
    return int(calls)


def test_resync_puts_right_what_was_changed_by_hand(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str
) -> None:
    connect_cluster(cluster, kubectl, namespace)
    often = database_cluster(namespace, resyncInterval="5s")
    served = database(f"{namespace}-served", namespace, databaseServiceName=SERVICE)
    words = ("revoked", "opened", "locked", "bare", "gone")
    items = {word: Item(f"{namespace}-{word}") for word in words}
    objects = [
        obj for item in items.values() for obj in item.objects(namespace, login=True)
    ]
    kubectl.apply(documents(often, served, *objects))
    wait_ready(kubectl)
    name = {word: item.postgres_name for word, item in items.items()}
    assert all(is_as_declared(cluster, item) for item in items.values())

    administer(
        cluster,
        name["revoked"],
        "SET ROLE pgop_admin",
        f"REVOKE ALL ON SCHEMA {SCHEMA} FROM {name['revoked']}",
        f"REVOKE CONNECT ON DATABASE {name['revoked']} FROM {name['revoked']}",
    )
    administer(
        cluster,
        "postgres",
        "SET ROLE pgop_admin",
        f"GRANT CONNECT ON DATABASE {name['opened']} TO PUBLIC",
        f"ALTER ROLE {name['locked']} NOLOGIN",
    )
    administer(cluster, name["bare"], f"DROP SCHEMA {SCHEMA}")
    forget = (f"DROP OWNED BY {name['gone']}", f"DROP ROLE {name['gone']}")
    administer(cluster, name["gone"], *forget)
    kubectl.run("delete", "service", SERVICE)

    for item in items.values():
        repaired = partial(is_as_declared, cluster, item)
        assert wait_until(repaired, timeout=PATIENCE), item.name
    assert wait_until(
        lambda: kubectl("get", "service", SERVICE).returncode == 0, timeout=PATIENCE
    )


def test_other_rules_of_a_cluster_have_nobody_enter_a_database(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str
) -> None:
    """Nor does another DSN to the same server; the end of a pause does."""
    dsn = cluster.postgres.admin_dsn
    connect_server(kubectl, namespace, dsn, resyncInterval="24h")
    inside, outside = items = make_items(namespace, 2)
    create_items(kubectl, items, cluster=namespace)
    wait_ready(kubectl)
    wait_idle(cluster)
    administer(
        cluster,
        inside.postgres_name,
        f"REVOKE USAGE ON SCHEMA {SCHEMA} FROM {inside.postgres_name}",
        f"REVOKE CONNECT ON DATABASE {outside.postgres_name}"
        f" FROM {outside.postgres_name}",
    )
    rules = {"resyncInterval": "24h", "allowedMemberships": ["crew"]}
    for changed in (
        database_cluster(namespace, **rules),
        dsn_secret(namespace, make_conninfo(dsn, connect_timeout=7)),
    ):
        looks = Counter(databasecluster=1, database=2, databaserole=2)
        looks += reconciles(cluster)
        kubectl.apply(documents(changed))
        wait_idle(cluster, at_least=looks)
        assert not is_as_declared(cluster, inside)
        assert is_as_declared(cluster, outside)
    for pause in ("pg-operator.dev/reconcile=Plan", "pg-operator.dev/reconcile-"):
        kubectl.run("annotate", f"databasecluster/{namespace}", pause)
    assert wait_until(partial(is_as_declared, cluster, inside), timeout=PATIENCE)

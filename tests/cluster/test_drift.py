"""What is changed by hand on the server or in Kubernetes is put right by the resync."""

from functools import partial

from tests.cluster.items import SCHEMA, Item, wait_ready
from tests.cluster.objects import (
    administer,
    connect_cluster,
    database,
    database_cluster,
    documents,
)
from tests.cluster.standing import is_as_declared
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.kubectl import Kubectl
from tests.localcluster.probes import wait_until

PATIENCE = 30
SERVICE = "orders-db"


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

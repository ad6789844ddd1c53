"""A server that goes away takes nothing from what was Ready."""

import psycopg
import pytest

from tests.cluster.objects import (
    busy_role,
    connect_cluster,
    database,
    database_role,
    documents,
    login,
    password_secret,
)
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.kubectl import Kubectl


def test_outage_concerns_the_cluster_and_changed_objects_only(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str
) -> None:
    connect_cluster(cluster, kubectl, namespace)
    changed, unchanged = f"{namespace}-changed", f"{namespace}-unchanged"
    kept = f"{namespace}-kept"
    kubectl.apply(
        documents(
            database(kept, namespace, deletionPolicy="Delete"),
            password_secret("changed", "old-pa55word"),
            database_role(changed, namespace, password={"name": "changed"}),
            database_role(unchanged, namespace),
        )
    )
    for target in (f"pgdb/{kept}", f"pgrole/{changed}", f"pgrole/{unchanged}"):
        kubectl.wait(target, "condition=Ready")

    cluster.postgres.stop()
    try:
        # What makes the operator look at the server.
        kubectl.apply(documents(database(f"{namespace}-new", namespace)))
        kubectl.wait(f"pgcluster/{namespace}", "condition=Available=False")
        kubectl.apply(documents(password_secret("changed", "new-pa55word")))
        reason = "jsonpath={.status.conditions[?(@.type=='Ready')].reason}"
        kubectl.wait(f"pgrole/{changed}", f"{reason}=PasswordPending")
        kubectl.wait(f"pgdb/{namespace}-new", f"{reason}=ClusterUnavailable")
        kubectl.wait(f"pgdb/{kept}", "condition=Ready")
        kubectl.wait(f"pgrole/{unchanged}", "condition=Ready")
    finally:
        cluster.postgres.start()

    kubectl.wait(f"pgcluster/{namespace}", "condition=Available", timeout=60)
    kubectl.wait(f"pgrole/{changed}", "condition=Ready", timeout=60)
    kubectl.wait(f"pgdb/{namespace}-new", "condition=Ready", timeout=60)
    user = f"{namespace}_changed"
    login(cluster, user=user, password="new-pa55word", dbname="postgres").close()
    with pytest.raises(psycopg.OperationalError, match="password authentication"):
        login(cluster, user=user, password="old-pa55word", dbname="postgres")


def test_new_object_behind_a_lock_says_so_and_goes_on_after_it(
    cluster: LocalCluster, kubectl: Kubectl, namespace: str
) -> None:
    connect_cluster(cluster, kubectl, namespace)
    with busy_role(cluster, kubectl, namespace):
        pass  # that it says so was waited for
    kubectl.wait(f"pgrole/{namespace}", "condition=Ready", timeout=60)

"""All that the operator does for tenants with Secrets and Services."""

from tests.cluster.objects import database, database_cluster, documents, dsn_secret
from tests.localcluster.deployed import DeployedCluster
from tests.localcluster.kubectl import Kubectl
from tests.localcluster.probes import wait_until

SLICES = ("endpointslices", "--selector=kubernetes.io/service-name=e2e-db")


def service_follows_the_server(cluster: DeployedCluster) -> None:
    """From an alias to addresses and away again: every write a Service can need."""
    kubectl = cluster.kubectl
    alias = cluster.dsn.replace("host=", "host=pg.example.test hostaddr=")
    shared = {"databaseServiceName": "e2e-db", "deletionPolicy": "Delete"}
    kubectl.apply(
        documents(
            dsn_secret("e2e", alias),
            database_cluster("e2e"),
            database("e2e", "e2e", **shared),
        )
    )
    kubectl.wait("database/e2e", "condition=Ready", timeout=60)
    assert kubectl.get("service/e2e-db")["spec"]["type"] == "ExternalName"

    kubectl.apply(documents(dsn_secret("e2e", cluster.dsn)))
    assert wait_until(lambda: bool(kubectl.get(*SLICES)["items"]), timeout=60)
    kubectl.apply(documents(dsn_secret("e2e", alias)))
    assert wait_until(lambda: not kubectl.get(*SLICES)["items"], timeout=60)

    kubectl.apply(documents(database("e2e", "e2e", deletionPolicy="Delete")))
    assert wait_until(
        lambda: kubectl("get", "service/e2e-db").returncode != 0, timeout=60
    )
    kubectl.run("delete", "database/e2e", "databasecluster/e2e", "--timeout=60s")


def connection_secret_moves(kubectl: Kubectl, role: str, *, old: str) -> None:
    """A connection Secret of another name takes the place of the old one."""
    new = f"{role}-elsewhere"
    password = kubectl.get("secret", old)["data"]["password"]
    patch = f'{{"spec": {{"connectionSecret": {{"name": "{new}"}}}}}}'
    kubectl.run("patch", "pgrole", role, "--type=merge", f"--patch={patch}")
    assert wait_until(lambda: kubectl("get", "secret", old).returncode != 0, timeout=60)
    assert wait_until(lambda: kubectl("get", "secret", new).returncode == 0, timeout=60)
    assert kubectl.get("secret", new)["data"]["password"] != password

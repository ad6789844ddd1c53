"""config/overlays/all-in-one: one pod does everything."""

from tests.cluster.objects import database, database_cluster, documents, dsn_secret
from tests.cluster.standins import problems
from tests.e2e.installation import Installation
from tests.e2e.load import refusal

MANIFESTS = "config/overlays/all-in-one"


def test_one_pod_admits_and_works(installation: Installation) -> None:
    cluster = installation.cluster
    assert cluster.pods("webhook") == []
    assert refusal(cluster.kubectl)
    one = database("one", "one", deletionPolicy="Delete")
    server = (dsn_secret("one", cluster.dsn), database_cluster("one"))
    cluster.kubectl.apply(documents(*server, one))
    cluster.kubectl.wait("database/one", "condition=Ready")
    assert cluster.kubectl.get("database/one")["metadata"]["finalizers"]
    assert problems(cluster) == {}

    cluster.kubectl.run(
        "delete", "database/one", "databasecluster/one", "--timeout=60s"
    )

"""The samples do what they say, and the refused ones say what stands beside them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.cluster.objects import administer, documents, dsn_secret
from tests.localcluster.binaries import CHECKOUT
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.kubectl import Kubectl
from tests.localcluster.manifests import OPERATOR_NAMESPACE
from tests.localcluster.probes import wait_until

SAMPLES = Path("config/samples")
INVALID = sorted(
    path.relative_to(CHECKOUT) for path in (CHECKOUT / SAMPLES / "invalid").glob("*.y*")
)
KINDS = "databaseclusters,databases,databaseroles"


@pytest.fixture
def default(cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> Kubectl:
    """The administrator's kubectl in namespace `default` and at the checkout's root."""
    monkeypatch.chdir(CHECKOUT)
    return cluster.kubectl_in("default")


@pytest.fixture
def admin_secret(cluster: LocalCluster, default: Kubectl) -> Iterator[None]:
    """The Secret that the head of cluster.yaml tells to create; all goes at the end."""
    secret = dsn_secret("postgres-admin", cluster.postgres.admin_dsn)
    default.apply(documents(secret))
    yield
    default("delete", f"--filename={SAMPLES}", "--ignore-not-found", "--timeout=60s")
    own = f"--namespace={OPERATOR_NAMESPACE}"
    default.run("delete", "secret", "postgres-admin", own)


@pytest.mark.usefixtures("admin_secret")
def test_samples_become_ready_and_go_again(
    cluster: LocalCluster, default: Kubectl
) -> None:
    def services() -> str:
        return default.run("get", "services", "--output=name")

    default.run("apply", f"--filename={SAMPLES}")
    default.run("wait", KINDS, "--all", "--for=condition=Ready", "--timeout=60s")
    made = _names_on_the_server(cluster)
    assert made["databases"] == _declared("Database", "name")
    assert made["roles"] == _declared("DatabaseRole", "roleName")
    assert {"service/billing-db", "service/inventory-db"} < set(services().split())

    default.run("delete", f"--filename={SAMPLES}", "--timeout=60s")

    assert default.run("get", KINDS, "--output=name") == ""
    # The garbage collector takes the Services with their owners, in its own time.
    only_theirs = "service/kubernetes\n"
    assert wait_until(lambda: services() == only_theirs, timeout=60), services()
    # What a sample says to keep is kept; that is for the test to remove.
    kept = _names_on_the_server(cluster)
    assert kept["databases"] == _declared("Database", "name") - {"scratch", "wiki"}
    assert kept["roles"] == {"backup"}
    for database in kept["databases"]:
        administer(cluster, "postgres", f'DROP DATABASE "{database}"')
    administer(cluster, "postgres", "DROP ROLE backup")


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_invalid_sample_is_refused_with_the_text_beside_it(
    default: Kubectl, path: Path
) -> None:
    refused = default("apply", f"--filename={path}")

    # Of two documents the first is the object as it is stored.
    *stored, document = yaml.safe_load_all(path.read_text())
    kind, name = document["kind"], document["metadata"]["name"]
    if stored:
        default.run("delete", kind, name)
    expected = path.with_suffix(".txt").read_text()
    before = f'The {kind} "{name}" is invalid: '
    if expected.startswith("* "):
        before += "\n"
    elif path.stem == "unknown-field":
        # The API server's own words, before it asks any webhook.
        before = (
            f'Error from server (BadRequest): error when creating "{path}": '
            f'{kind} in version "v1alpha1" cannot be handled as a {kind}: '
        )
    lines = refused.stderr.splitlines(keepends=True)
    said = [line for line in lines if not line.startswith("Warning: ")]
    assert "".join(said) == before + expected
    assert refused.stdout.count("created") == len(stored)
    assert refused.returncode == 1


def _declared(kind: str, name: str) -> set[str]:
    return {
        document["spec"][name]
        for path in (CHECKOUT / SAMPLES).glob("*.yaml")
        for document in yaml.safe_load_all(path.read_text())
        if document["kind"] == kind
    }


def _names_on_the_server(cluster: LocalCluster) -> dict[str, set[str]]:
    """Return which of the samples' databases and roles there are."""
    databases = administer(cluster, "postgres", "SELECT datname FROM pg_database")
    roles = administer(cluster, "postgres", "SELECT rolname FROM pg_roles")
    return {
        "databases": {name for (name,) in databases} & _declared("Database", "name"),
        "roles": {name for (name,) in roles} & _declared("DatabaseRole", "roleName"),
    }

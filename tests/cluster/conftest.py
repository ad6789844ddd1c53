"""One bed for the whole cluster tier; a namespace and a name prefix per test."""

import secrets
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.capture import uncaptured
from tests.cluster.objects import log_statements
from tests.localcluster.binaries import provide_binaries
from tests.localcluster.cluster import LocalCluster, running_cluster
from tests.localcluster.kubectl import Kubectl
from tests.localcluster.probes import read_page, tail, wait_until
from tests.localcluster.progress import Progress
from tests.localcluster.runs import LOCAL, run_directory
from tests.localcluster.spills import find_spills

CLEANUP_SECONDS = 60
OUR_KINDS = "databaseroles,databases,databaseclusters"
COLUMNS = "custom-columns=:.kind,:.metadata.namespace,:.metadata.name"
NONE = "<none>"
# Where each operator log ended when the test began.
LOG_OFFSETS = pytest.StashKey[dict[Path, int]]()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build what is missing before any test's time limit begins to run."""
    wanted = any("cluster" in getattr(i, "fixturenames", ()) for i in session.items)
    if wanted and not session.config.option.collectonly:
        with uncaptured(session.config):
            provide_binaries(Progress(sys.stdout))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show under a failed test what the operator logged during it."""
    report = yield
    if report.failed:
        for log, offset in item.stash.get(LOG_OFFSETS, {}).items():
            report.sections.append((str(log), tail(log, lines=60, offset=offset)))
    return report


@pytest.fixture(scope="session")
def cluster(pytestconfig: pytest.Config) -> Iterator[LocalCluster]:
    """Control plane, PostgreSQL and both operator processes."""
    with run_directory(LOCAL / "runs") as directory, ExitStack() as stack:
        with uncaptured(pytestconfig):
            progress = Progress(sys.stdout)
            running = running_cluster(directory, progress=progress)
            cluster = stack.enter_context(running)
        log_statements(cluster)
        yield cluster
        pages = {
            f"{part} metrics": read_page(
                f"{scheme}://{process.component.address}/metrics"
            )
            for part, scheme, process in (
                ("controller", "http", cluster.controller),
                ("webhook", "https", cluster.webhook),
            )
        }
        spills = find_spills(cluster.logs, pages=pages)
        assert not spills, "\n".join(spills)


@pytest.fixture(autouse=True)
def _operator_logs(request: pytest.FixtureRequest, cluster: LocalCluster) -> None:
    logs = (cluster.logs / "controller.log", cluster.logs / "webhook.log")
    offsets = {log: log.stat().st_size for log in logs if log.exists()}
    request.node.stash[LOG_OFFSETS] = offsets


@pytest.fixture
def namespace(cluster: LocalCluster) -> Iterator[str]:
    """A fresh namespace, whose name is also the test's prefix for other names.

    At the end its Databases and DatabaseRoles, and the DatabaseClusters whose name
    begins with it, are deleted; the test fails when they are not gone after 60 s.
    """
    name = f"t{secrets.token_hex(4)}"
    cluster.kubectl.run("create", "namespace", name)
    yield name
    kubectl = cluster.kubectl_in(name)
    stuck = delete_objects(kubectl, prefix=name)
    for target in stuck:
        free = '{"metadata": {"finalizers": null}}'
        kubectl("patch", target, "--type=merge", f"--patch={free}")
    # Nobody waits for the namespace itself: its controller alone takes 5 s.
    kubectl.run("delete", "namespace", name, "--wait=false")
    if stuck:
        pytest.fail(f"not gone {CLEANUP_SECONDS} s after deletion: {stuck}")


def delete_objects(kubectl: Kubectl, *, prefix: str) -> list[str]:
    """Delete a test's objects of ours; return those not gone in time."""

    def left() -> list[str]:
        rows = kubectl.run("get", OUR_KINDS, "--all-namespaces", "--output", COLUMNS)
        found = [row.split() for row in rows.splitlines()[1:]]
        return [
            f"{kind.lower()}/{name}"
            for kind, namespace, name in found
            if namespace == prefix or (namespace == NONE and name.startswith(prefix))
        ]

    targets = left()
    if not targets:
        return []
    kubectl("delete", "--wait=false", "--ignore-not-found", *targets)
    wait_until(lambda: not left(), timeout=CLEANUP_SECONDS)
    return left()


@pytest.fixture
def kubectl(cluster: LocalCluster, namespace: str) -> Kubectl:
    """The administrator's kubectl; its default namespace is the test's."""
    return cluster.kubectl_in(namespace)


@pytest.fixture
def other(cluster: LocalCluster, namespace: str) -> Iterator[Kubectl]:
    """Give kubectl in a second namespace, which goes with all that is in it."""
    name = f"{namespace}-other"
    cluster.kubectl.run("create", "namespace", name)
    kubectl = cluster.kubectl_in(name)
    yield kubectl
    assert delete_objects(kubectl, prefix=name) == []
    kubectl.run("delete", "namespace", name, "--wait=false")


@pytest.fixture
def apply(kubectl: Kubectl) -> Callable[..., str]:
    """Apply YAML text into the test's namespace; fails when it is refused."""
    return kubectl.apply


@pytest.fixture
def wait(kubectl: Kubectl) -> Callable[..., None]:
    """Wait as `kubectl wait --for` does: `wait("database/x", "condition=Ready")`."""
    return kubectl.wait

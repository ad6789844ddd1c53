"""One bed for the whole run, and config/ deployed on it."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.capture import uncaptured
from tests.cluster.objects import log_statements
from tests.e2e.__main__ import directory
from tests.e2e.installation import Installation
from tests.e2e.load import CLIENTS, Load, running_load
from tests.e2e.pods import metrics_pages
from tests.localcluster import namespaces
from tests.localcluster.deployed import DeployedCluster, Parts, running_deployed_cluster
from tests.localcluster.probes import wait_until
from tests.localcluster.progress import Progress
from tests.localcluster.spills import find_spills


def pytest_collection_finish() -> None:
    """Refuse to run where a node would change the machine's own network."""
    if not namespaces.inside():
        pytest.exit("these tests need namespaces of their own: run `make e2e`", 1)


@pytest.fixture(scope="session")
def say(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Print one line for the person who waits."""

    def print_line(text: str) -> None:
        with uncaptured(pytestconfig):
            Progress(sys.stdout).say(text)

    return print_line


@pytest.fixture(scope="session")
def cluster(pytestconfig: pytest.Config) -> Iterator[DeployedCluster]:
    """Control plane, node, cert-manager, PostgreSQL; nothing of ours but the CRDs."""
    run = directory()
    parts = Parts.from_json((run / "parts.json").read_text(encoding="utf-8"))
    with ExitStack() as stack:
        with uncaptured(pytestconfig):
            progress = Progress(sys.stdout)
            progress.say("")
            running = running_deployed_cluster(
                parts, state=run / "state", logs=run / "logs", progress=progress
            )
            cluster = stack.enter_context(running)
        log_statements(cluster)
        yield cluster
        with uncaptured(pytestconfig):
            memory = ", ".join(f"{k} {v}" for k, v in cluster.memory().items())
            progress.say(f"\nmemory in MiB: {memory}")
        spills = find_spills(cluster.logs, pages=metrics_pages(cluster))
        assert not spills, "\n".join(spills)


class Deployer:
    """Deploys one directory of config/ after the other."""

    def __init__(self, cluster: DeployedCluster, config: pytest.Config) -> None:
        """Deploy on `cluster`; nothing is deployed yet."""
        self._cluster = cluster
        self._config = config
        self._present: Installation | None = None

    def provide(self, manifests: str) -> Installation:
        """Return the installation of a directory, made when it is not there."""
        if self._present is None or self._present.manifests != manifests:
            self.clear()
            fresh = Installation(self._cluster, manifests=manifests)
            with self._step(f"deploying {manifests}"):
                fresh.deploy()
            self._present = fresh
        return self._present

    def clear(self) -> None:
        """Delete what is deployed."""
        if self._present is not None:
            with self._step(f"deleting {self._present.manifests}"):
                self._present.delete()
            self._present = None

    @contextmanager
    def _step(self, what: str) -> Iterator[None]:
        with uncaptured(self._config), Progress(sys.stdout).step(what):
            yield


@pytest.fixture(scope="session")
def deployer(pytestconfig: pytest.Config, cluster: DeployedCluster) -> Deployer:
    """What deploys config/; the last of it goes with the bed."""
    return Deployer(cluster, pytestconfig)


@pytest.fixture(scope="module")
def installation(request: pytest.FixtureRequest, deployer: Deployer) -> Installation:
    """What the module's MANIFESTS deploy; kept for the next module of the same."""
    return deployer.provide(request.module.MANIFESTS)


@pytest.fixture
def load(
    request: pytest.FixtureRequest,
    installation: Installation,
    say: Callable[[str], None],
) -> Iterator[Load]:
    """50 dry-run applies a second during the test; nothing wrong may get in, ever.

    Its parameter, if any, is from how many clients they come.
    """
    clients = getattr(request, "param", CLIENTS)
    with running_load(installation.cluster.control_plane, clients=clients) as load:
        assert wait_until(lambda: len(load.answers) > 50, timeout=30)
        yield load
    say(f"\n  {load.summary()}")
    for words, count in Counter(answer.message for answer in load.failed).items():
        say(f"  {count}: {words}")
    assert load.wrongly_allowed == []

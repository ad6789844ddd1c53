"""A whole bed: control plane, PostgreSQL and the operator."""

import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import yaml

from tests.localcluster.audit import Request, read_requests
from tests.localcluster.binaries import CHECKOUT, Binaries, provide_binaries
from tests.localcluster.controlplane import ControlPlane
from tests.localcluster.kubectl import Kubectl
from tests.localcluster.manifests import webhooks_by_url
from tests.localcluster.operator import (
    READY_SECONDS,
    OperatorProcess,
    issue_webhook_certificate,
    start_controller,
    start_webhook,
)
from tests.localcluster.postgres import (
    PostgresOptions,
    PostgresServer,
    start_postgres,
)
from tests.localcluster.postgres_files import remove_directory
from tests.localcluster.probes import wait_until
from tests.localcluster.processes import (
    BedError,
    Component,
    Supervisor,
    wait_ready,
)
from tests.localcluster.progress import Progress

FINALIZER = "pg-operator.dev/finalizer"


@dataclass(frozen=True, slots=True)
class BedOptions:
    """How a bed differs from the default.

    `tied` processes end with the program that started them, whatever ends it.
    """

    tied: bool = True
    postgres: PostgresOptions = field(default_factory=PostgresOptions)


class LocalCluster:
    """A running bed; `running_cluster` and `start_cluster` make one."""

    def __init__(
        self,
        *,
        supervisor: Supervisor,
        control_plane: ControlPlane,
        postgres: PostgresServer,
        controller: OperatorProcess,
        webhook: OperatorProcess,
        logs: Path,
    ) -> None:
        """Hold the running parts of a bed."""
        self.control_plane = control_plane
        self.postgres = postgres
        self.controller = controller
        self.webhook = webhook
        self.logs = logs
        self.kubectl = control_plane.kubectl()
        self._supervisor = supervisor

    def kubectl_in(self, namespace: str) -> Kubectl:
        """Return kubectl as the administrator with another default namespace."""
        return self.control_plane.kubectl(namespace=namespace)

    def pid_of(self, name: str) -> int | None:
        """Return the pid of a process by the name of its log, None without one."""
        process = self._supervisor.find(name)
        return process.pid if process is not None else None

    def audit_mark(self) -> int:
        """Return the present end of the audit log, for `requests_since`."""
        log = self.control_plane.audit_log
        start = log.stat().st_size
        # Lines are written while requests are answered: once one of our own stands
        # in the log, so do all that were answered before it was sent.
        name = f"audit-mark-{uuid.uuid4().hex}"
        self.kubectl("get", "configmap", name)
        ends: list[int] = []

        def arrived() -> bool:
            requests = read_requests(log, since=start)
            ends.extend(end for end, request in requests if request.name == name)
            return bool(ends)

        if not wait_until(arrived, timeout=30):
            raise BedError(f"a request of ours never came into {log}")
        return ends[0]

    def requests_since(self, mark: int, *, user: str = "") -> list[Request]:
        """Return the requests answered since a mark, of one user if named."""
        until = self.audit_mark()
        found = read_requests(self.control_plane.audit_log, since=mark)
        return [
            request
            for end, request in found
            if end < until and user in ("", request.user)
        ]

    def add_controller(
        self, name: str, *options: str, kubeconfig: Path | None = None
    ) -> OperatorProcess:
        """Start a further controller with options; whoever adds it ends it.

        With another kubeconfig than the controller's own it may be led elsewhere.
        """
        plane = self.control_plane
        return start_controller(
            self._supervisor,
            kubeconfig=kubeconfig or plane.operator_kubeconfig(plane.controller),
            logs=self.logs,
            name=name,
            further=options,
        )

    def run(self, component: Component) -> None:
        """Start a component in place of that of its name, which has ended."""
        process = self._supervisor.start(component)
        if not wait_ready(process, timeout=READY_SECONDS):
            raise BedError(f"{component.name} did not become ready: {component.log}")

    def add_postgres(
        self, name: str, *, directory: Path, options: PostgresOptions
    ) -> PostgresServer:
        """Start a further server with data and log in `directory`; the bed ends it."""
        return start_postgres(
            self._supervisor,
            directory=directory,
            log=directory / f"{name}.log",
            options=options,
            name=name,
        )

    def stop(self) -> None:
        """End every process; the files stay."""
        self._supervisor.stop_all()


@contextmanager
def running_cluster(
    directory: Path, *, progress: Progress, options: BedOptions | None = None
) -> Iterator[LocalCluster]:
    """Start a bed in `directory`, and end and remove it (not its logs) at the end."""
    cluster = start_cluster(
        directory / "state",
        logs=directory / "logs",
        progress=progress,
        options=options or BedOptions(),
    )
    try:
        yield cluster
    finally:
        # Their draining serves nobody in a bed that is thrown away.
        cluster.webhook.kill()
        cluster.controller.kill()
        cluster.stop()
        remove_directory(directory / "state")


def start_cluster(
    state: Path, *, logs: Path, progress: Progress, options: BedOptions
) -> LocalCluster:
    """Start a bed with its files in `state`; whatever fails, no process is left."""
    binaries = provide_binaries(progress)
    supervisor = Supervisor(state / "processes", tied=options.tied)
    starter = _Starter(
        supervisor=supervisor,
        binaries=binaries,
        state=state,
        logs=logs,
        progress=progress,
        options=options,
    )
    try:
        return starter.start()
    except BaseException:
        supervisor.stop_all()
        remove_directory(state)
        raise


@dataclass(frozen=True, slots=True)
class _Starter:
    """The steps of starting a bed, in their order."""

    supervisor: Supervisor
    binaries: Binaries
    state: Path
    logs: Path
    progress: Progress
    options: BedOptions

    def start(self) -> LocalCluster:
        control_plane = ControlPlane(
            self.binaries,
            supervisor=self.supervisor,
            directory=self.state / "control-plane",
            logs=self.logs,
        )
        with (
            self.progress.step("starting the control plane and PostgreSQL"),
            ThreadPoolExecutor(1) as beside,
        ):
            starting = beside.submit(self.postgres)
            control_plane.start()
            postgres = starting.result()
        with self.progress.step("installing the API and starting the controllers"):
            install_api(control_plane.kubectl())
            control_plane.start_controller_manager()
        with self.progress.step("starting the operator"):
            controller, webhook = self.operator(control_plane)
        return LocalCluster(
            supervisor=self.supervisor,
            control_plane=control_plane,
            postgres=postgres,
            controller=controller,
            webhook=webhook,
            logs=self.logs,
        )

    def postgres(self) -> PostgresServer:
        return start_postgres(
            self.supervisor,
            directory=self.state / "postgres",
            log=self.logs / "postgres.log",
            options=self.options.postgres,
        )

    def operator(
        self, control_plane: ControlPlane
    ) -> tuple[OperatorProcess, OperatorProcess]:
        certificates = self.state / "webhook-certificate"
        ca_pem = issue_webhook_certificate(certificates)
        with ThreadPoolExecutor(1) as beside:
            starting = beside.submit(
                start_controller,
                self.supervisor,
                kubeconfig=control_plane.operator_kubeconfig(control_plane.controller),
                logs=self.logs,
            )
            webhook = start_webhook(
                self.supervisor,
                kubeconfig=control_plane.operator_kubeconfig(control_plane.webhook),
                certificates=certificates,
                logs=self.logs,
            )
            controller = starting.result()
        base_url = f"https://{webhook.component.address}"
        install_webhooks(control_plane.kubectl(), base_url=base_url, ca_pem=ca_pem)
        return controller, webhook


def install_api(kubectl: Kubectl) -> None:
    """Apply config/crd, with the operator's namespace, and config/rbac."""
    for room in ("crd", "rbac"):
        directory = CHECKOUT / "config" / room
        kubectl.run("apply", "--server-side", f"--kustomize={directory}")
    names = kubectl.run("get", f"--filename={CHECKOUT / 'crds'}", "--output=name")
    wait_served(kubectl, names.split())


def wait_served(kubectl: Kubectl, crds: Iterable[str]) -> None:
    """Wait until the API server serves the kinds of CRDs, given as `kind/name`."""
    for name in crds:
        kubectl.wait(name, "condition=Established")
        plural = name.partition("/")[2]
        # Established is not enough: "storage is (re)initializing" may follow.
        if not wait_until(partial(_served, kubectl, plural), timeout=30):
            raise BedError(f"the API server does not serve {plural}")


def _served(kubectl: Kubectl, plural: str) -> bool:
    return kubectl("get", plural).returncode == 0


def install_webhooks(kubectl: Kubectl, *, base_url: str, ca_pem: bytes) -> None:
    """Apply config/webhook, calling `base_url`, and wait until it is in force."""
    manifests = CHECKOUT / "config" / "webhook" / "manifests.yaml"
    configurations = yaml.safe_load_all(manifests.read_text(encoding="utf-8"))
    documents = webhooks_by_url(configurations, base_url=base_url, ca_pem=ca_pem)
    # Validating first, so that it is in force when the mutating one is seen to be.
    documents.sort(key=lambda document: str(document["kind"]), reverse=True)
    kubectl.apply(yaml.safe_dump_all(documents), "--server-side")
    if not wait_until(partial(_admitted, kubectl), timeout=30):
        raise BedError("the API server does not call the webhook; see webhook.log")


def _admitted(kubectl: Kubectl) -> bool:
    """Say whether an object that is not stored comes back with our finalizer."""
    probe = {
        "apiVersion": "pg-operator.dev/v1alpha1",
        "kind": "DatabaseRole",
        "metadata": {"name": "admission-probe"},
        "spec": {"roleName": "probe", "databaseClusterRef": {"name": "probe"}},
    }
    options = ("--dry-run=server", "--output=jsonpath={.metadata.finalizers}")
    text = yaml.safe_dump(probe)
    return FINALIZER in kubectl.run("create", "--filename=-", *options, input=text)

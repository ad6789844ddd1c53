"""A bed with a node: the operator runs in pods, as config/ deploys it.

Everything lives in the namespaces of tests/localcluster/namespaces.py.
"""

import json
import os
import signal
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.localcluster import namespaces
from tests.localcluster.audit import Request, read_requests
from tests.localcluster.binaries import CHECKOUT, Binaries, CertManager
from tests.localcluster.cluster import wait_served
from tests.localcluster.config import render
from tests.localcluster.controlplane import CONTROLLERS, ControlPlane, PlaneOptions
from tests.localcluster.kubectl import Kubectl
from tests.localcluster.manifests import OPERATOR_NAMESPACE
from tests.localcluster.node import network
from tests.localcluster.node.images import Image
from tests.localcluster.postgres import (
    PostgresOptions,
    PostgresServer,
    start_postgres,
)
from tests.localcluster.processes import BedError, Component, Supervisor, python_module
from tests.localcluster.progress import Progress

NODE = "bed-node"
CERT_MANAGER = "cert-manager"
PLANE = PlaneOptions(
    host=network.NODE_ADDRESS,
    bind="0.0.0.0",  # noqa: S104 - of a network namespace that leads nowhere
    port=443,
    api_server=(
        f"--advertise-address={network.NODE_ADDRESS}",
        # Services of webhooks are resolved through EndpointSlices, without a proxy.
        "--enable-aggregator-routing=true",
        # Else the tokens in pods live a year, and nothing shows that they are renewed.
        "--service-account-extend-token-expiration=false",
        "--kubelet-preferred-address-types=InternalIP",
        "--allow-privileged=true",
    ),
    controllers=(
        *CONTROLLERS,
        "deployment-controller",
        "replicaset-controller",
        "endpointslice-controller",
        "disruption-controller",
        "clusterrole-aggregation-controller",
    ),
)


@dataclass(frozen=True, slots=True)
class Parts:
    """What is built outside, where there is a network, and used in the namespaces."""

    binaries: Binaries
    cert_manager: CertManager
    image: Image
    image_name: str

    def to_json(self) -> str:
        """Return the parts as text for the program inside."""
        binaries = {k: str(getattr(self.binaries, k)) for k in Binaries.__slots__}
        cert_manager = self.cert_manager
        return json.dumps(
            {
                "binaries": binaries,
                "cert_manager": [str(cert_manager.program), str(cert_manager.crds)],
                "image": self.image.to_json(),
                "image_name": self.image_name,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> "Parts":
        """Return the parts that `to_json` wrote."""
        said = json.loads(text)
        program, crds = map(Path, said["cert_manager"])
        return cls(
            binaries=Binaries(**{k: Path(v) for k, v in said["binaries"].items()}),
            cert_manager=CertManager(program=program, crds=crds),
            image=Image.from_json(said["image"]),
            image_name=said["image_name"],
        )


class DeployedCluster:
    """A running bed with one node."""

    def __init__(
        self,
        *,
        supervisor: Supervisor,
        control_plane: ControlPlane,
        postgres: PostgresServer,
        cert_manager_crds: Path,
        state: Path,
        logs: Path,
    ) -> None:
        """Hold the running parts; `running_deployed_cluster` makes one."""
        self.control_plane = control_plane
        self.postgres = postgres
        self.cert_manager_crds = cert_manager_crds
        self.logs = logs
        self.kubectl = control_plane.kubectl()
        self.own = control_plane.kubectl(namespace=OPERATOR_NAMESPACE)
        # Where in the audit log the operator was being taken away, in bytes.
        self.uninstalls: list[range] = []
        self._supervisor = supervisor
        self._pods = state / "pods"

    @contextmanager
    def without_cert_manager(self) -> Iterator[None]:
        """Stop cert-manager, and start it again at the end."""
        running = self._supervisor.find(CERT_MANAGER)
        if running is None:
            raise BedError("cert-manager does not run")
        running.stop()
        try:
            yield
        finally:
            self._supervisor.restart(CERT_MANAGER)

    @property
    def dsn(self) -> str:
        """The DSN of a login that is no superuser, as pods reach the server."""
        return self.postgres.admin_dsn_at(network.NODE_ADDRESS)

    def pods(self, component: str) -> list[dict[str, Any]]:
        """Return the pods of a component of ours that are not on their way out."""
        selector = f"--selector=app.kubernetes.io/component={component}"
        found = self.own.get("pods", selector)["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def log(self, pod: Mapping[str, Any]) -> str:
        """Return what a pod's container wrote."""
        metadata = pod["metadata"]
        name = f"{metadata['namespace']}_{metadata['name']}.log"
        return (self.logs / "pods" / name).read_text(encoding="utf-8", errors="replace")

    def kubectl_in(self, namespace: str) -> Kubectl:
        """Return kubectl as the administrator with another default namespace."""
        return self.control_plane.kubectl(namespace=namespace)

    def pid(self, pod: Mapping[str, Any]) -> int:
        """Return the pid of the program of a pod's only container."""
        metadata = pod["metadata"]
        directory = self._pods / f"{metadata['namespace']}_{metadata['name']}"
        (pid_file,) = directory.glob("*.pid")
        return int(pid_file.read_text(encoding="utf-8"))

    def signal(self, pod: Mapping[str, Any], number: signal.Signals) -> None:
        """Send a signal to the program of a pod's only container."""
        os.kill(self.pid(pod), number)

    def connect(self, pod: Mapping[str, Any], *, up: bool) -> None:
        """Plug a pod's network cable in or out."""
        number = pod["status"]["podIP"].rpartition(".")[2]
        network.run("ip", "link", "set", f"veth{number}", "up" if up else "down")

    def rendered(self, manifests: str) -> list[dict[str, Any]]:
        """Return the objects of a directory of the checkout, as kustomize does."""
        return render(self.kubectl.program, CHECKOUT / manifests)

    def requests(self, *, since: int = 0) -> list[Request]:
        """Return the API requests after byte `since` of the audit log."""
        log = self.control_plane.audit_log
        return [request for _, request in read_requests(log, since=since)]

    def requests_while_installed(self) -> list[Request]:
        """Return the API requests but those made while the operator was deleted.

        Its roles go before its pods do, which then may not even give up their Lease.
        """
        found = read_requests(self.control_plane.audit_log, since=0)
        return [
            request
            for end, request in found
            if not any(end in span for span in self.uninstalls)
        ]

    def audit_size(self) -> int:
        """Return the present length of the audit log in bytes."""
        return self.control_plane.audit_log.stat().st_size

    def memory(self) -> dict[str, int]:
        """Return the resident memory in MiB of every program of the bed, by name."""
        found: dict[str, int] = {}
        for component in self._supervisor.components():
            process = self._supervisor.find(component.name)
            if process is not None:
                found[component.name] = resident(process.pid)
        for pid_file in self._pods.glob("*/*.pid"):
            name = pid_file.parent.name.partition("_")[2]
            found[name] = resident(int(pid_file.read_text(encoding="utf-8")))
        return found


@contextmanager
def running_deployed_cluster(
    parts: Parts, *, state: Path, logs: Path, progress: Progress
) -> Iterator[DeployedCluster]:
    """Start a bed whose files are in `state`; end its programs at the end.

    The CRDs (ours and cert-manager's) and the operator's namespace are there already,
    as `kubectl apply --kustomize config/crd` makes them.
    """
    if not namespaces.inside():
        raise BedError("this bed needs namespaces of its own: run `make e2e`")
    supervisor = Supervisor(state / "processes", tied=True)
    starter = _Starter(
        supervisor=supervisor, parts=parts, state=state, logs=logs, progress=progress
    )
    try:
        yield starter.start()
    finally:
        supervisor.stop_all()


@dataclass(frozen=True, slots=True)
class _Starter:
    """The steps of starting a bed, in their order."""

    supervisor: Supervisor
    parts: Parts
    state: Path
    logs: Path
    progress: Progress

    def start(self) -> DeployedCluster:
        control_plane = ControlPlane(
            self.parts.binaries,
            supervisor=self.supervisor,
            directory=self.state / "control-plane",
            logs=self.logs,
            options=PLANE,
        )
        with (
            self.progress.step("starting the control plane and PostgreSQL"),
            ThreadPoolExecutor(1) as beside,
        ):
            starting = beside.submit(self.postgres)
            control_plane.start()
            postgres = starting.result()
        kubectl = control_plane.kubectl()
        with self.progress.step("installing the CRDs, and the node and cert-manager"):
            install_crds(kubectl, self.parts.cert_manager.crds)
            control_plane.start_controller_manager()
            self.node(control_plane)
            self.cert_manager(control_plane)
        return DeployedCluster(
            supervisor=self.supervisor,
            control_plane=control_plane,
            postgres=postgres,
            cert_manager_crds=self.parts.cert_manager.crds,
            state=self.state,
            logs=self.logs,
        )

    def postgres(self) -> PostgresServer:
        rules = self.state / "pg_hba.conf"
        rules.write_text("host all all 0.0.0.0/0 scram-sha-256\n", encoding="utf-8")
        settings = {
            "listen_addresses": f"127.0.0.1,{network.NODE_ADDRESS}",
            "hba_file": str(rules),
        }
        return start_postgres(
            self.supervisor,
            directory=self.state / "postgres",
            log=self.logs / "postgres.log",
            options=PostgresOptions(settings=settings),
        )

    def node(self, control_plane: ControlPlane) -> None:
        file = self.state / "node.json"
        document = {
            "name": NODE,
            "address": control_plane.url.removeprefix("https://"),
            "ca": str(control_plane.ca),
            "token": control_plane.node.token,
            "directory": str(self.state / "pods"),
            "logs": str(self.logs / "pods"),
            "images": {self.parts.image_name: self.parts.image.to_json()},
            "volume_seconds": 1.0,
        }
        file.touch(mode=0o600)
        file.write_text(json.dumps(document), encoding="utf-8")
        self.supervisor.start(
            Component(
                name="node",
                argv=python_module("tests.localcluster.node", str(file)),
                log=self.logs / "node.log",
            )
        )

    def cert_manager(self, control_plane: ControlPlane) -> None:
        config = control_plane.kubeconfig(control_plane.cert_manager)
        program = self.parts.cert_manager.program
        self.supervisor.start(
            Component(
                name=CERT_MANAGER,
                argv=(str(program), f"--kubeconfig={config}"),
                log=self.logs / "cert-manager.log",
            )
        )


def install_crds(kubectl: Kubectl, *further: Path) -> None:
    """Apply config/crd and directories of other CRDs and wait until all are served."""
    own = f"--kustomize={CHECKOUT / 'config' / 'crd'}"
    for source in (own, *(f"--filename={directory}" for directory in further)):
        kubectl.run("apply", "--server-side", source)
    names = kubectl.run("get", "customresourcedefinitions", "--output=name")
    wait_served(kubectl, names.split())


def resident(pid: int) -> int:
    """Return the resident memory of a process in MiB; 0 when there is none."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    lines = dict(line.split(":", 1) for line in text.splitlines())
    return int(lines["VmRSS"].split()[0]) // 1024 if "VmRSS" in lines else 0

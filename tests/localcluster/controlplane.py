"""etcd, kube-apiserver and kube-controller-manager."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.localcluster.binaries import Binaries
from tests.localcluster.kubectl import Kubectl
from tests.localcluster.manifests import (
    OPERATOR_NAMESPACE,
    Identity,
    audit_policy,
    kubeconfig,
    token_file,
)
from tests.localcluster.processes import Component, Supervisor

HOST = "127.0.0.1"
# A documentation address: --advertise-address refuses loopback, and nobody dials it.
ADVERTISED = "192.0.2.1"
API_SERVER = "kube-apiserver"
API_SERVER_SECONDS = 120.0
# What the admission of our own objects needs; a cluster with nodes needs more.
CONTROLLERS = (
    "garbage-collector-controller",
    "namespace-controller",
    "serviceaccount-controller",
    "root-ca-certificate-publisher-controller",
)


@dataclass(frozen=True, slots=True)
class PlaneOptions:
    """Where the API server listens, and what a kind of bed adds.

    Without a `port` it takes a free one.
    """

    host: str = HOST
    bind: str = HOST
    port: int = 0
    api_server: tuple[str, ...] = (
        f"--advertise-address={ADVERTISED}",
        "--endpoint-reconciler-type=none",
    )
    controllers: tuple[str, ...] = CONTROLLERS


class ControlPlane:
    """A Kubernetes API; its state and secrets are in one directory."""

    def __init__(
        self,
        binaries: Binaries,
        *,
        supervisor: Supervisor,
        directory: Path,
        logs: Path,
        options: PlaneOptions | None = None,
    ) -> None:
        """Prepare the files of a control plane under `directory`."""
        self._options = options or PlaneOptions()
        self._binaries = binaries
        self._supervisor = supervisor
        self._directory = directory
        self._logs = logs
        self._controller_manager = Identity.administrator(
            "system:kube-controller-manager"
        )
        self.administrator = Identity.administrator("bed-administrator")
        self.node = Identity.administrator("bed-node")
        self.cert_manager = Identity.administrator("cert-manager")
        self.controller = Identity.service_account("pg-operator-controller")
        self.webhook = Identity.service_account("pg-operator-webhook")
        self.audit_log = logs / "audit.log"
        self.url = ""

    def start(self) -> None:
        """Start etcd and the API server and wait until they are ready."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._logs.mkdir(parents=True, exist_ok=True)
        identities = (
            self.administrator,
            self._controller_manager,
            self.node,
            self.cert_manager,
            self.controller,
            self.webhook,
        )
        self._write("tokens.csv", token_file(identities))
        self._write("audit-policy.json", audit_policy())
        self._write("service-accounts.key", signing_key())
        etcd = self._supervisor.start_ready(self._etcd, ports=2, timeout=60)

        def api_server(ports: Sequence[int]) -> Component:
            port = self._options.port or ports[0]
            return self._api_server(etcd.component.address, port)

        process = self._supervisor.start_ready(
            api_server, ports=1, timeout=API_SERVER_SECONDS
        )
        self.url = f"https://{process.component.address}"

    def kill_api_server(self) -> None:
        """End the API server with SIGKILL; etcd, which has its data, goes on."""
        process = self._supervisor.find(API_SERVER)
        if process is not None:
            process.kill()

    def start_api_server(self) -> None:
        """Start it again at the same address, and wait until it is ready."""
        if self._supervisor.find(API_SERVER) is None:
            self._supervisor.restart(API_SERVER, timeout=API_SERVER_SECONDS)

    @property
    def ca(self) -> Path:
        """The file of the certificate that vouches for the API server."""
        return self._certificates / "apiserver.crt"

    def start_controller_manager(self) -> None:
        """Start the controllers, without waiting for them.

        To be called after the CRDs are there: the garbage collector looks for new
        kinds only every 30 s.
        """
        config = self.kubeconfig(self._controller_manager)
        self._supervisor.start(
            Component(
                name="kube-controller-manager",
                argv=(
                    str(self._binaries.kube_controller_manager),
                    f"--kubeconfig={config}",
                    f"--controllers={','.join(self._options.controllers)}",
                    f"--root-ca-file={self.ca}",
                    "--leader-elect=false",
                    "--secure-port=0",
                    "--kube-api-qps=200",
                    "--kube-api-burst=400",
                ),
                log=self._logs / "kube-controller-manager.log",
            )
        )

    def kubeconfig(self, identity: Identity, *, namespace: str = "default") -> Path:
        """Return the file of a kubeconfig for a user and a default namespace."""
        account = identity.user.rpartition(":")[2]
        ca_pem = self.ca.read_bytes()
        text = kubeconfig(identity, server=self.url, ca_pem=ca_pem, namespace=namespace)
        return self._write(f"kubeconfig-{account}-{namespace}", text)

    def operator_kubeconfig(self, identity: Identity) -> Path:
        """Return the kubeconfig of an operator process."""
        return self.kubeconfig(identity, namespace=OPERATOR_NAMESPACE)

    def kubectl(self, *, namespace: str = "default") -> Kubectl:
        """Return kubectl as the administrator, with a default namespace."""
        return Kubectl(
            self._binaries.kubectl,
            kubeconfig=self.kubeconfig(self.administrator, namespace=namespace),
            cache=self._directory / "kubectl-cache",
        )

    @property
    def _certificates(self) -> Path:
        return self._directory / "apiserver"

    def _write(self, name: str, text: str) -> Path:
        path = self._directory / name
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
        return path

    def _etcd(self, ports: Sequence[int]) -> Component:
        client, peer = (f"http://{HOST}:{port}" for port in ports)
        return Component(
            name="etcd",
            argv=(
                str(self._binaries.etcd),
                f"--data-dir={self._directory / 'etcd'}",
                f"--listen-client-urls={client}",
                f"--advertise-client-urls={client}",
                f"--listen-peer-urls={peer}",
                f"--initial-advertise-peer-urls={peer}",
                f"--initial-cluster=default={peer}",
                "--unsafe-no-fsync",
                "--log-level=warn",
            ),
            log=self._logs / "etcd.log",
            address=f"{HOST}:{ports[0]}",
            ready_url=f"{client}/readyz",
        )

    def _api_server(self, etcd: str, port: int) -> Component:
        files, options = self._directory, self._options
        return Component(
            name=API_SERVER,
            argv=(
                str(self._binaries.kube_apiserver),
                f"--etcd-servers=http://{etcd}",
                f"--bind-address={options.bind}",
                f"--secure-port={port}",
                f"--cert-dir={self._certificates}",
                *options.api_server,
                "--service-cluster-ip-range=10.96.0.0/16",
                "--service-account-issuer=https://kubernetes.default.svc",
                f"--service-account-key-file={files / 'service-accounts.key'}",
                f"--service-account-signing-key-file={files / 'service-accounts.key'}",
                f"--token-auth-file={files / 'tokens.csv'}",
                "--authorization-mode=RBAC",
                f"--audit-policy-file={files / 'audit-policy.json'}",
                f"--audit-log-path={self.audit_log}",
                "--audit-log-mode=blocking",
            ),
            log=self._logs / "kube-apiserver.log",
            address=f"{options.host}:{port}",
            ready_url=f"https://{options.host}:{port}/readyz",
        )


def signing_key() -> str:
    """Return a new key for service account tokens ("EC PRIVATE KEY": no PKCS8)."""
    return (
        ec.generate_private_key(ec.SECP256R1())
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
        .decode()
    )

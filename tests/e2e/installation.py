"""Deploying a directory of config/ and taking it away, as docs/deploying.md says."""

import base64
import json

from tests.localcluster.binaries import CHECKOUT
from tests.localcluster.deployed import DeployedCluster
from tests.localcluster.probes import wait_until

SECONDS = 90
CONFIGURATIONS = (
    "validatingwebhookconfiguration/pg-operator",
    "mutatingwebhookconfiguration/pg-operator",
)


class Installation:
    """The operator as one directory of config/ deploys it."""

    def __init__(self, cluster: DeployedCluster, *, manifests: str) -> None:
        """Stand for `manifests`, a directory relative to the checkout."""
        self.cluster = cluster
        self.manifests = manifests
        # Where its time begins in the audit log, in bytes.
        self.since = cluster.audit_size()

    def deploy(self) -> None:
        """Apply the manifests as they are and wait until objects are admitted."""
        source = f"--kustomize={CHECKOUT / self.manifests}"
        self.cluster.kubectl.run("apply", "--server-side", source)
        available = ("--all", "--for=condition=Available", f"--timeout={SECONDS}s")
        self.cluster.own.run("wait", "deployment", *available, timeout=SECONDS + 30)
        assert wait_until(self._trusted, timeout=SECONDS), self.ca_bundles()

    def delete(self) -> None:
        """Delete the manifests as they are and wait until the pods are gone."""
        begin = self.cluster.audit_size()
        source = f"--kustomize={CHECKOUT / self.manifests}"
        self.cluster.kubectl.run("delete", source, f"--timeout={SECONDS}s")

        def gone() -> bool:
            return self.cluster.own.run("get", "pods", "--output=name") == ""

        assert wait_until(gone, timeout=SECONDS)
        self.cluster.uninstalls.append(range(begin, self.cluster.audit_size() + 1))

    def ca_bundles(self) -> list[str]:
        """Return the PEM text that each webhook of both configurations trusts."""
        return [
            base64.b64decode(webhook["clientConfig"].get("caBundle", "")).decode()
            for name in CONFIGURATIONS
            for webhook in self.cluster.kubectl.get(name)["webhooks"]
        ]

    def wipe_trust(self) -> None:
        """Take caBundle from every webhook, as an apply with an empty one does."""
        for name in CONFIGURATIONS:
            count = len(self.cluster.kubectl.get(name)["webhooks"])
            wipe = [
                {"op": "remove", "path": f"/webhooks/{number}/clientConfig/caBundle"}
                for number in range(count)
            ]
            patch = f"--patch={json.dumps(wipe)}"
            self.cluster.kubectl.run("patch", name, "--type=json", patch)

    def secret(self, name: str) -> dict[str, bytes]:
        """Return the data of a Secret in the operator's namespace."""
        data = self.cluster.own.get("secret", name)["data"]
        return {key: base64.b64decode(value) for key, value in data.items()}

    def _trusted(self) -> bool:
        return all(bundle.startswith("-----BEGIN") for bundle in self.ca_bundles())

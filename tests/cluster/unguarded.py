"""What gets in while the API server asks no webhook: the controller must judge it."""

from collections.abc import Iterator
from contextlib import contextmanager

import yaml

from pg_operator.api.specs import FINALIZER, GROUP, PLURALS, Kind
from tests.cluster.objects import database_role, documents
from tests.errors import CHECKOUT
from tests.localcluster.kubectl import Kubectl
from tests.localcluster.probes import wait_until

CONFIGURATIONS = (
    "validatingwebhookconfiguration/pg-operator",
    "mutatingwebhookconfiguration/pg-operator",
)


def crd_text(kind: Kind) -> str:
    """Return the CRD of a kind as it is shipped."""
    file = CHECKOUT / "crds" / f"{GROUP}_{PLURALS[kind]}.yaml"
    return file.read_text(encoding="utf-8")


@contextmanager
def without_admission(kubectl: Kubectl) -> Iterator[None]:
    """Take the webhook configurations away, as a careless administrator does."""
    stored = kubectl.get(*CONFIGURATIONS)["items"]
    for configuration in stored:
        metadata = configuration["metadata"]
        configuration["metadata"] = {
            name: metadata[name]
            for name in ("name", "labels", "annotations")
            if name in metadata
        }
    kubectl.run("delete", *CONFIGURATIONS)
    try:
        assert wait_until(lambda: _takes_anything(kubectl), timeout=30)
        yield
    finally:
        kubectl.apply(yaml.safe_dump_all(stored), "--server-side", "--force-conflicts")
        assert wait_until(lambda: admission_works(kubectl), timeout=30)


def _probe(*privileges: str) -> str:
    permission = {"database": "probe", "privileges": list(privileges)}
    role = database_role("admission-probe", "none", permissions=[permission])
    role["metadata"]["namespace"] = "default"
    return documents(role)


def _takes_anything(kubectl: Kubectl) -> bool:
    """Say whether neither webhook is asked any more."""
    options = ("--dry-run=server", "--filename=-", "--output=yaml")
    done = kubectl("create", *options, input=_probe("CONNECT", "CONNECT"))
    return done.returncode == 0 and FINALIZER not in done.stdout


def admission_works(kubectl: Kubectl) -> bool:
    """Say whether the mutating webhook is asked and something refuses."""
    options = ("--dry-run=server", "--filename=-", "--output=yaml")
    good = kubectl("create", *options, input=_probe("CONNECT"))
    bad = kubectl("create", *options, input=_probe("CONNECT", "CONNECT"))
    return FINALIZER in good.stdout and bad.returncode != 0

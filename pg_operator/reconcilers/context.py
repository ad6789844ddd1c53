"""What every reconciler is given, and whose object is whose."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from pg_operator.api.conditions import Reason
from pg_operator.api.specs import GROUP
from pg_operator.kube.client import Kubernetes
from pg_operator.plan.state import Claimant
from pg_operator.postgres.marks import Keyring
from pg_operator.reconcilers.foresight import Foresight
from pg_operator.reconcilers.outcome import (
    CreatesLess,
    Key,
    Object,
    Objects,
    annotation_of,
)
from pg_operator.reconcilers.progress import Blocked
from pg_operator.reconcilers.servers import Servers
from pg_operator.reconcilers.survey import Survey
from pg_operator.reconcilers.witness import Witness

RELEASE_ANNOTATION: Final = f"{GROUP}/release"


@dataclass(frozen=True, slots=True)
class Context:
    """The collaborators of all reconcilers.

    `owner_id` tells this Kubernetes cluster from others that use the same server, on
    DatabaseClusters that say nothing else. What a `survey` knows is not read anew.
    """

    objects: Objects
    kubernetes: Kubernetes
    servers: Servers
    keyring: Keyring
    owner_id: str
    now: Callable[[], datetime]
    creates_less: CreatesLess
    witness: Witness = field(default_factory=Witness)
    foresight: Foresight = field(default_factory=Foresight)
    survey: Survey | None = None

    def claimant(self, key: Key) -> Claimant | None:
        """Return what a mark says of that object; None before its Namespace is seen."""
        namespace = self.objects.namespace(key.namespace)
        if namespace is None or key.kind == "DatabaseCluster":
            return None
        cluster = self._cluster_of(key)
        return Claimant(
            owner_id=self.owner_id_on(cluster),
            kind=key.kind,
            namespace=key.namespace,
            namespace_uid=namespace["metadata"]["uid"],
            name=key.name,
            former_ids=frozenset(cluster.get("previousOwnerIds", ())),
        )

    def owner_id_on(self, cluster: Mapping[str, Any]) -> str:
        """Return the id in marks made through a DatabaseCluster with that spec."""
        return str(cluster.get("ownerId") or self.owner_id)

    def is_living(self, claimant: Claimant) -> bool:
        """Tell whether a mark's object exists here, whoever its operator is."""
        key = Key(claimant.kind, claimant.namespace, claimant.name)
        namespace = self.objects.namespace(claimant.namespace)
        return (
            self.objects.get(key) is not None
            and namespace is not None
            and bool(namespace["metadata"]["uid"] == claimant.namespace_uid)
        )

    def _cluster_of(self, key: Key) -> Mapping[str, Any]:
        """Return the spec of an object's DatabaseCluster; empty where there is none."""
        spec = (self.objects.get(key) or {}).get("spec", {})
        try:
            name = spec["databaseClusterRef"]["name"]
        except (KeyError, TypeError):
            return {}
        cluster = self.objects.get(Key("DatabaseCluster", "", name))
        return {} if cluster is None else dict(cluster["spec"])


def claimant_of(context: Context, key: Key) -> Claimant:
    """Return an object's claimant.

    Raises:
        Blocked: its Namespace has not been seen yet; the watch will wake it.
    """
    claimant = context.claimant(key)
    if claimant is None:
        message = f"Namespace '{key.namespace}' does not exist"
        raise Blocked(Reason.WAITING_FOR_REFERENCES, message)
    return claimant


def is_let_go(obj: Object) -> bool:
    """Tell whether an administrator lets the object go without any SQL."""
    return annotation_of(obj, RELEASE_ANNOTATION) == "true"

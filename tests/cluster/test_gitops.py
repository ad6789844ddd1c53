"""GitOps tools try everything, apply everything, and prune last: no order is stuck."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.cluster.objects import (
    administer,
    database,
    database_cluster,
    database_role,
    documents,
    dsn_secret,
)
from tests.localcluster.cluster import LocalCluster
from tests.localcluster.kubectl import Kubectl
from tests.localcluster.probes import wait_until

KINDS = ("DatabaseCluster", "Database", "DatabaseRole")
Identity = tuple[str, str, str]
Commit = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Repository:
    """What a tool applies in one order of kinds; its objects are its own."""

    name: str
    order: Sequence[str]
    tool: str
    secret: str
    home: str
    away: str

    @property
    def postgres_name(self) -> str:
        """The name of its database and of the role in it."""
        return self.name.replace("-", "_")

    @property
    def reader(self) -> str:
        """The role of another namespace, by its name on the server."""
        return f"{self.postgres_name}_reader"

    def commits(self) -> list[Commit]:
        """Return what there is to be, one commit after the other."""
        name = self.name
        permissions = [{"database": self.postgres_name, "privileges": ["CONNECT"]}]
        open_to_all = {"from": "Names", "names": [self.home, self.away]}
        listed = [{"name": self.postgres_name, "namespace": self.away}]
        server = {"connection": {"name": self.secret}, "maxConnections": 1}
        cluster = database_cluster(name, **server)
        agreeing = {"adoption": {"policy": "Listed", "databases": listed}}
        orders = database(name, name)
        opened = database(name, name, allowedNamespaces=open_to_all)
        app = database_role(name, name, permissions=permissions)
        reader = database_role(f"{name}-reader", name, permissions=permissions)
        renamed = [called(f"{name}-2", one) for one in (adopting(opened), app)]
        there = self.placed(self.away, reader)
        return [
            [cluster, *self.placed(self.home, orders, app)],
            # Opens a database, and grants in it elsewhere.
            [cluster, *self.placed(self.home, opened, app), *there],
            [cluster, *self.placed(self.home, *renamed), *there],
            # Moves both to the other namespace.
            [
                database_cluster(name, **server, **agreeing),
                *self.placed(self.away, *renamed),
                *there,
            ],
        ]

    def placed(self, namespace: str, *objects: dict[str, Any]) -> Commit:
        """Return objects as they lie in a namespace."""
        return [
            {**obj, "metadata": {**obj["metadata"], "namespace": namespace}}
            for obj in objects
        ]

    def documents(self, commit: Commit) -> Commit:
        """Return the objects of a commit in this order, as the tool marks them."""
        ordered = sorted(commit, key=lambda obj: self.order.index(obj["kind"]))
        return [self._tracked(obj) for obj in ordered]

    def _tracked(self, obj: dict[str, Any]) -> dict[str, Any]:
        kind, namespace, name = identity(obj)
        if self.tool == "Argo CD":
            place = f"{self.name}:pg-operator.dev/{kind}:{namespace}/{name}"
            marks = {"annotations": {"argocd.argoproj.io/tracking-id": place}}
        else:
            label = "kustomize.toolkit.fluxcd.io"
            marks = {
                "labels": {f"{label}/name": self.name, f"{label}/namespace": "flux"}
            }
        return {**obj, "metadata": {**obj["metadata"], **marks}}


def called(name: str, obj: dict[str, Any]) -> dict[str, Any]:
    """Give an object another name in Kubernetes."""
    return {**obj, "metadata": {**obj["metadata"], "name": name}}


def adopting(obj: dict[str, Any]) -> dict[str, Any]:
    """Let an object take over what its predecessor leaves on the server."""
    return {**obj, "spec": {**obj["spec"], "adopt": True}}


def identity(obj: dict[str, Any]) -> Identity:
    metadata = obj["metadata"]
    return obj["kind"], metadata.get("namespace", ""), metadata["name"]


def test_commits_of_every_kind_are_taken_in_every_order(
    cluster: LocalCluster, kubectl: Kubectl, other: Kubectl, namespace: str
) -> None:
    assert other.run("get", "databases", "--output=name") == ""
    kubectl.apply(documents(dsn_secret(namespace, cluster.postgres.admin_dsn)))
    repositories = [
        Repository(
            name=f"{namespace}-{number}",
            order=order,
            tool="Argo CD" if number % 2 else "Flux",
            secret=namespace,
            home=namespace,
            away=f"{namespace}-other",
        )
        for number, order in enumerate(itertools.permutations(KINDS))
    ]
    histories = [repository.commits() for repository in repositories]
    before: set[Identity] = set()
    oids: list[Any] = []
    for step in range(len(histories[0])):
        commit = [
            document
            for repository, history in zip(repositories, histories, strict=True)
            for document in repository.documents(history[step])
        ]
        present = {identity(obj) for obj in commit}
        sync(kubectl, commit, prune=before - present)
        wait_until(lambda: found_ready(kubectl, namespace) == present, timeout=60)  # noqa: B023
        assert found_ready(kubectl, namespace) == present
        oids.append([oid_of(cluster, one.postgres_name) for one in repositories])
        before = present

    # Neither a new name nor another namespace cost any data.
    assert oids == [oids[0]] * len(oids)
    for one in repositories:
        for role in (one.postgres_name, one.reader):
            assert may_connect(cluster, role, to=one.postgres_name)


def sync(kubectl: Kubectl, commit: Commit, *, prune: Iterable[Identity]) -> None:
    """Bring the API server to a commit; fails when anything is refused."""
    for options in (["--dry-run=server"], []):
        options += ["--server-side", "--force-conflicts", "--field-manager=gitops"]
        done = kubectl("apply", "--filename=-", *options, input=documents(*commit))
        assert done.returncode == 0, done.stderr
    for kind, place, name in prune:
        kubectl.run("delete", kind, name, f"--namespace={place}", "--wait=false")


def found_ready(kubectl: Kubectl, prefix: str) -> set[Identity]:
    """Return the objects that are there; those that are not Ready have no name."""
    plurals = ",".join(f"{kind}s".lower() for kind in KINDS)
    found = kubectl.get(plurals, "--all-namespaces")["items"]
    ours = [one for one in found if one["metadata"]["name"].startswith(prefix)]
    return {identity(one) if is_ready(one) else (one["kind"], "", "") for one in ours}


def is_ready(obj: dict[str, Any]) -> bool:
    """Say whether an object as it is now is Ready."""
    status = obj["status"]
    ready = {("Ready", "True")}
    return status["observedGeneration"] == obj["metadata"]["generation"] and (
        ready <= {(one["type"], one["status"]) for one in status.get("conditions", [])}
    )


def oid_of(bed: LocalCluster, name: str) -> Any:
    query = f"SELECT oid FROM pg_database WHERE datname = '{name}'"
    return administer(bed, "postgres", query)


def may_connect(bed: LocalCluster, role: str, *, to: str) -> bool:
    query = f"SELECT has_database_privilege('{role}', '{to}', 'CONNECT')"
    ((answer,),) = administer(bed, "postgres", query)
    return bool(answer)
